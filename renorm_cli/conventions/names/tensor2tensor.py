"""Names of tensor2tensor's models that are not the default names of TensorFlow's layers."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_LAYERS = "tensorflow/tensor2tensor tensor2tensor/layers/"
_SYMBOLS = "transformer/symbol_modality_32768_512/"
_BODY = "transformer/body/encoder/layer_0/"

ROWS = (
    Row(
        "symbol_modality_32768_512/shared/weights_0",
        "embedding",
        "*tokens size",
        _SYMBOLS + "shared/weights_0",
        (2048, 512),
        _LAYERS + "modalities.py",
    ),
    Row(
        "symbol_modality_32768_512/input_emb/weights_0",
        "embedding",
        "*tokens size",
        _SYMBOLS + "input_emb/weights_0",
        (2048, 512),
        _LAYERS + "modalities.py",
    ),
    Row(
        "symbol_modality_32768_512/target_emb/weights_0",
        "embedding",
        "*tokens size",
        _SYMBOLS + "target_emb/weights_0",
        (2048, 512),
        _LAYERS + "modalities.py",
    ),
    Row(
        "symbol_modality_32768_512/softmax/weights_0",
        "kernel",
        "*tokens size",
        _SYMBOLS + "softmax/weights_0",
        (2048, 512),
        _LAYERS + "modalities.py",
    ),
    Row(
        "target_space_embedding/kernel",
        "embedding",
        "*tokens size",
        "transformer/body/target_space_embedding/kernel",
        (32, 512),
        _LAYERS + "transformer_layers.py",
    ),
    *(
        Row(
            f"multihead_attention/{part}/kernel",
            "kernel",
            "in *out",
            f"{_BODY}self_attention/multihead_attention/{part}/kernel",
            (512, 512),
            _LAYERS + "common_attention.py",
        )
        for part in ("q", "k", "v", "output_transform")
    ),
    Row(
        "*_relative_embeddings",
        "parameter",
        "positions size|heads positions size",
        _BODY + "self_attention/multihead_attention/dot_product_attention_relative/key_relative_embeddings",
        (8, 512, 64),
        _LAYERS + "common_attention.py",
    ),
    *(
        Row(
            f"{kind}_norm_scale",
            "scale",
            "n",
            f"{_BODY}layer_prepostprocess/{kind}_norm/{kind}_norm_scale",
            (512,),
            _LAYERS + "common_layers.py",
        )
        for kind in ("layer", "group", "l2")
    ),
    *(
        Row(
            f"{kind}_norm_bias",
            "bias",
            "n",
            f"{_BODY}layer_prepostprocess/{kind}_norm/{kind}_norm_bias",
            (512,),
            _LAYERS + "common_layers.py",
        )
        for kind in ("layer", "group", "l2")
    ),
)
"""The rows of this convention."""
