"""Write `transformers.txt`: the matrices of small TensorFlow models of transformers, and the layer that holds each.

    TF_USE_LEGACY_KERAS=1 python record_transformers.py

Recorded with transformers 4.41.2, TensorFlow 2.15 and tf_keras 2.15. Each line has a name as it stands in
`tf_model.h5`, less the model's own, a shape, and the class of the layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

SMALL = {
    "vocab_size": 41,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Bert": ("BertConfig", "TFBertForMaskedLM", SMALL),
    "BertCls": ("BertConfig", "TFBertForSequenceClassification", SMALL),
    "Roberta": ("RobertaConfig", "TFRobertaForMaskedLM", SMALL),
    "Distil": (
        "DistilBertConfig",
        "TFDistilBertForMaskedLM",
        {"vocab_size": 41, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 20},
    ),
    "Albert": ("AlbertConfig", "TFAlbertForMaskedLM", dict(SMALL, embedding_size=8)),
    "Electra": ("ElectraConfig", "TFElectraForPreTraining", dict(SMALL, embedding_size=8)),
    "GPT2": (
        "GPT2Config",
        "TFGPT2LMHeadModel",
        {"vocab_size": 41, "n_positions": 20, "n_embd": 16, "n_layer": 2, "n_head": 2},
    ),
    "OpenAIGPT": (
        "OpenAIGPTConfig",
        "TFOpenAIGPTLMHeadModel",
        {"vocab_size": 41, "n_positions": 20, "n_embd": 16, "n_layer": 2, "n_head": 2},
    ),
    "T5": (
        "T5Config",
        "TFT5ForConditionalGeneration",
        {"vocab_size": 41, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 2},
    ),
    "XLNet": (
        "XLNetConfig",
        "TFXLNetLMHeadModel",
        {"vocab_size": 41, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24},
    ),
    "Bart": (
        "BartConfig",
        "TFBartForConditionalGeneration",
        {
            "vocab_size": 61,
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "max_position_embeddings": 20,
            "pad_token_id": 1,
        },
    ),
    "Marian": (
        "MarianConfig",
        "TFMarianMTModel",
        {
            "vocab_size": 61,
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "max_position_embeddings": 20,
            "pad_token_id": 1,
            "decoder_start_token_id": 1,
        },
    ),
    "ViT": (
        "ViTConfig",
        "TFViTForImageClassification",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "image_size": 32,
            "patch_size": 8,
        },
    ),
    "CLIP": (
        "CLIPTextConfig",
        "TFCLIPTextModel",
        {
            "vocab_size": 41,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 20,
        },
    ),
    "Whisper": (
        "WhisperConfig",
        "TFWhisperForConditionalGeneration",
        {
            "vocab_size": 61,
            "num_mel_bins": 8,
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "max_source_positions": 20,
            "max_target_positions": 20,
            "pad_token_id": 1,
            "bos_token_id": 1,
            "eos_token_id": 1,
            "decoder_start_token_id": 1,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        },
    ),
    "XLM": (
        "XLMConfig",
        "TFXLMWithLMHeadModel",
        {"vocab_size": 41, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 20},
    ),
    "CTRL": (
        "CTRLConfig",
        "TFCTRLLMHeadModel",
        {"vocab_size": 41, "n_positions": 20, "n_embd": 16, "n_layer": 2, "n_head": 2, "dff": 24},
    ),
    "Mobilebert": (
        "MobileBertConfig",
        "TFMobileBertForMaskedLM",
        dict(SMALL, embedding_size=8, intra_bottleneck_size=8, num_feedforward_networks=2),
    ),
    "Funnel": (
        "FunnelConfig",
        "TFFunnelForMaskedLM",
        {
            "vocab_size": 41,
            "block_sizes": [1, 1],
            "num_decoder_layers": 1,
            "d_model": 16,
            "n_head": 2,
            "d_head": 8,
            "d_inner": 24,
        },
    ),
    "OPT": (
        "OPTConfig",
        "TFOPTForCausalLM",
        {
            "vocab_size": 41,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "ffn_dim": 24,
            "max_position_embeddings": 20,
            "num_attention_heads": 2,
            "word_embed_proj_dim": 16,
        },
    ),
    "DeBERTa": (
        "DebertaV2Config",
        "TFDebertaV2ForMaskedLM",
        dict(SMALL, relative_attention=True, pos_att_type="c2p|p2c", position_buckets=4),
    ),
    "ConvNext": (
        "ConvNextConfig",
        "TFConvNextForImageClassification",
        {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1], "image_size": 32},
    ),
    "Wav2Vec2": (
        "Wav2Vec2Config",
        "TFWav2Vec2ForCTC",
        {
            "vocab_size": 20,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "conv_dim": (8, 8),
            "conv_stride": (5, 2),
            "conv_kernel": (10, 3),
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
        },
    ),
    "GPTJ": (
        "GPTJConfig",
        "TFGPTJForCausalLM",
        {"vocab_size": 41, "n_positions": 20, "n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 4},
    ),
    "Segformer": (
        "SegformerConfig",
        "TFSegformerForImageClassification",
        {
            "hidden_sizes": [8, 8, 12, 12],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 1, 1],
            "decoder_hidden_size": 8,
        },
    ),
    "Swin": (
        "SwinConfig",
        "TFSwinForImageClassification",
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
    ),
    "ResNet": (
        "ResNetConfig",
        "TFResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"},
    ),
}

lines: list[str] = []
for title, (config, model_class, sizes) in MODELS.items():
    model = getattr(transformers, model_class)(getattr(transformers, config)(**sizes))
    model.build_in_name_scope()
    lines.append(f"# {title}")
    found: dict[str, str] = {}
    for layer in model.submodules:
        for weight in (*getattr(layer, "_trainable_weights", ()), *getattr(layer, "_non_trainable_weights", ())):
            name = (weight.name.partition("/")[2] or weight.name).removesuffix(":0")
            if len(weight.shape) >= 2 and not weight.dtype.is_integer:
                found.setdefault(name, f"{name} {'x'.join(map(str, weight.shape))} {type(layer).__name__}")
    lines += found.values()
Path(__file__).with_name("transformers.txt").write_text("\n".join((*lines, "")), "utf-8")
