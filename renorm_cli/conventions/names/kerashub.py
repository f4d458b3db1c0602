"""Names of KerasHub's models in `.weights.h5`: of layers by the attributes that hold them, of weights by numbers."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_LAYERS, _MODELS = "keras-team/keras-hub keras_hub/src/layers/modeling/", "keras-team/keras-hub keras_hub/src/models/"
_LAYER = "transformer_layer_0/"
_DENSE = {
    "feedforward_intermediate_dense": _LAYERS + "transformer_encoder.py",
    "feedforward_output_dense": _LAYERS + "transformer_encoder.py",
    "feedforward_gate_dense": _MODELS + "llama/llama_decoder.py",
    "mlp_intermediate_dense": _MODELS + "bloom/bloom_decoder.py",
    "mlp_output_dense": _MODELS + "bloom/bloom_decoder.py",
    "ffw_gating": _MODELS + "gemma/gemma_decoder_block.py",
    "ffw_linear": _MODELS + "gemma/gemma_decoder_block.py",
    "query_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "key_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "value_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "output_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "input_projector": _MODELS + "t5/t5_transformer_layer.py",
    "gate_projector": _MODELS + "t5/t5_transformer_layer.py",
}
_TABLES = _LAYERS + "token_and_position_embedding.py"
_XLNET = _MODELS + "xlnet/xlnet_content_and_query_embedding.py"
_POSITIONS = _MODELS + "bart/bart_backbone.py"

ROWS = (
    *(
        Row(f"{name}/vars/0", "kernel", "in *out", f"{_LAYER}{name}/vars/0", (768, 3072), source)
        for name, source in _DENSE.items()
    ),
    Row(
        "self_attention/output_dense/vars/0",
        "kernel",
        "in *out",
        _LAYER + "self_attention/output_dense/vars/0",
        (1024, 1024),
        _MODELS + "bloom/bloom_attention.py",
    ),
    Row(
        "self_attention_layer/attention_output/vars/0",
        "kernel",
        "in *out",
        _LAYER + "self_attention_layer/attention_output/vars/0",
        (768, 768),
        _MODELS + "deberta_v3/disentangled_self_attention.py",
    ),
    Row(
        "rel_attn/encoding/vars/0",
        "kernel",
        "in *heads *size",
        "xlnet_encoder_0/rel_attn/encoding/vars/0",
        (768, 12, 64),
        _MODELS + "xlnet/relative_attention.py",
    ),
    Row("token_embedding/vars/0", "embedding", "*tokens size", "token_embedding/vars/0", (50265, 768), _TABLES),
    Row("token_embedding/vars/1", "kernel", "in *tokens", "token_embedding/vars/1", (768, 50265), _TABLES),
    Row("position_embedding/vars/0", "parameter", "positions size", "position_embedding/vars/0", (512, 768), _TABLES),
    Row(
        "*_position_embedding/vars/0",
        "parameter",
        "positions size",
        "decoder_position_embedding/vars/0",
        (1024, 768),
        _POSITIONS,
    ),
    Row("word_embedding/vars/0", "embedding", "*tokens size", "word_embedding/vars/0", (32000, 768), _XLNET),
    Row(
        "patch_embedding/vars/0",
        "kernel",
        "h w in *out",
        "vit_patching_and_embedding/patch_embedding/vars/0",
        (16, 16, 3, 768),
        _MODELS + "vit/vit_layers.py",
    ),
)
"""The rows of this convention."""
