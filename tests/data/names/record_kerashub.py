"""Write `kerashub.txt`: what small KerasHub backbones store in `.weights.h5`, and what their layers make of it.

    python record_kerashub.py

Recorded with keras-hub 0.32.0 and Keras 3.15.1. A line "# NAME" begins a model, a line "@ PATH NAME" is the attribute
`name` of a group, any other line has the path of a dataset, its shape, and the unit axes by the class of the live layer
and its equation; "-" for what is no kernel and no table of words. Sizes differ, as they do in models that are used; the
models "square" have as many heads as inputs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import h5py
import keras
import keras_hub
import numpy as np

TEXT = {"vocabulary_size": 97, "num_layers": 1, "num_heads": 6, "hidden_dim": 48, "intermediate_dim": 80}
PLACED = {**TEXT, "max_sequence_length": 29}
GROUPED = {
    "vocabulary_size": 97,
    "num_layers": 1,
    "num_query_heads": 6,
    "num_key_value_heads": 2,
    "hidden_dim": 48,
    "intermediate_dim": 80,
}
SQUARE = {"vocabulary_size": 97, "num_layers": 1, "num_query_heads": 8, "num_key_value_heads": 8, "hidden_dim": 8}
EXPERTS = {"num_experts": 5, "top_k": 2}
IMAGES = {"image_shape": (32, 32, 3), "num_layers": 1, "num_heads": 6, "hidden_dim": 48}
VISION = {"patch_size": 8, "hidden_dim": 48, "num_layers": 1, "num_heads": 6, "intermediate_dim": 80}


def clip() -> Any:
    from keras_hub.src.models.clip.clip_text_encoder import CLIPTextEncoder
    from keras_hub.src.models.clip.clip_vision_encoder import CLIPVisionEncoder

    vision = CLIPVisionEncoder(**VISION, image_shape=(32, 32, 3))
    text = CLIPTextEncoder(
        vocabulary_size=97,
        embedding_dim=48,
        hidden_dim=48,
        num_layers=1,
        num_heads=6,
        intermediate_dim=80,
        max_sequence_length=29,
    )
    return keras_hub.models.CLIPBackbone(vision, text, 56)


HUB = keras_hub.models
BACKBONES: dict[str, Any] = {
    "ALBERT": lambda: HUB.AlbertBackbone(**PLACED, embedding_dim=32),
    "BART": lambda: HUB.BartBackbone(**PLACED),
    "BERT": lambda: HUB.BertBackbone(**PLACED),
    "BLOOM": lambda: HUB.BloomBackbone(**TEXT),
    "CLIP": clip,
    "DeBERTa": lambda: HUB.DebertaV3Backbone(**PLACED, bucket_size=16),
    "DistilBERT": lambda: HUB.DistilBertBackbone(**PLACED),
    "FNet": lambda: HUB.FNetBackbone(97, 1, 48, 80, max_sequence_length=29),
    "Falcon": lambda: HUB.FalconBackbone(97, 1, 6, 48, 80),
    "GPT-2": lambda: HUB.GPT2Backbone(**PLACED),
    "GPT-NeoX": lambda: HUB.GPTNeoXBackbone(**PLACED),
    "Gemma": lambda: HUB.GemmaBackbone(**GROUPED, head_dim=16),
    "Gemma3": lambda: HUB.Gemma3Backbone(**GROUPED, head_dim=16, image_size=16),
    "Llama": lambda: HUB.LlamaBackbone(**GROUPED),
    "Mistral": lambda: HUB.MistralBackbone(**GROUPED),
    "Mixtral": lambda: HUB.MixtralBackbone(**GROUPED, **EXPERTS),
    "OPT": lambda: HUB.OPTBackbone(**PLACED),
    "Phi-3": lambda: HUB.Phi3Backbone(**GROUPED),
    "Qwen": lambda: HUB.QwenBackbone(**GROUPED),
    "Qwen MoE": lambda: HUB.QwenMoeBackbone(
        **GROUPED, **EXPERTS, moe_intermediate_dim=40, shared_expert_intermediate_dim=72
    ),
    "RoBERTa": lambda: HUB.RobertaBackbone(**PLACED),
    "T5": lambda: HUB.T5Backbone(**TEXT),
    "ViT": lambda: HUB.ViTBackbone(**IMAGES, patch_size=8, mlp_dim=80),
    "Whisper": lambda: HUB.WhisperBackbone(**TEXT, max_encoder_sequence_length=30, max_decoder_sequence_length=29),
    "XLM-RoBERTa": lambda: HUB.XLMRobertaBackbone(**PLACED),
    "XLNet": lambda: HUB.XLNetBackbone(**TEXT),
    "square Gemma": lambda: HUB.GemmaBackbone(**SQUARE, head_dim=16, intermediate_dim=80),
    "square Llama": lambda: HUB.LlamaBackbone(**SQUARE, intermediate_dim=80),
}


def units(layer: Any, weight: str, rank: int) -> str:
    """The axes that name units, by the class of the layer; of an EinsumDense those whose letters reach the output."""
    layers = keras.layers
    if isinstance(layer, layers.EinsumDense) and weight == "kernel":
        inputs, output = layer.equation.split("->")
        return ",".join(str(axis) for axis, letter in enumerate(inputs.split(",")[1]) if letter in output)
    if isinstance(layer, layers.Dense | layers.Conv1D | layers.Conv2D) and weight == "kernel":
        return str(rank - 1)
    if type(layer).__name__ == "PositionEmbedding":
        return "0"
    if isinstance(layer, layers.Embedding):
        return {"embeddings": "0", "reverse_embeddings": "1"}.get(weight, "-")
    if "Experts" in type(layer).__name__:  # its einsum is "th,ehm->etm": of each expert, each output
        return "0,2"
    return "-"


def lines(name: str, model: Any) -> Iterator[str]:
    rng = np.random.default_rng(3)
    owners: dict[bytes, tuple[Any, Any]] = {}
    for layer in (model, *model._flatten_layers(include_self=False, recursive=True)):
        for weight in (*layer._trainable_variables, *layer._non_trainable_variables):
            if "float" in str(weight.dtype) and np.asarray(weight).tobytes() not in owners:
                weight.assign(rng.normal(size=weight.shape))
                owners[np.asarray(weight).tobytes()] = (layer, weight)
    yield f"# {name}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        with h5py.File(path) as file:
            found: list[tuple[str, Any]] = []
            file.visititems(lambda where, item: found.append((where, item)))
            for where, item in found:
                if isinstance(item, h5py.Group) and "name" in item.attrs:
                    yield f"@ {where} {item.attrs['name']}"
                elif isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                    layer, weight = owners[item[()].tobytes()]
                    shape = "x".join(map(str, item.shape))
                    yield f"{where} {shape} {units(layer, weight.name, len(item.shape))}"


if __name__ == "__main__":
    text = [line for name, make in BACKBONES.items() for line in lines(name, make())]
    Path(__file__).with_name("kerashub.txt").write_text("\n".join(text) + "\n", "utf-8")
