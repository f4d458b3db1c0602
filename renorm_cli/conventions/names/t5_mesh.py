"""Names of T5 and of Mesh TensorFlow's transformers."""

from __future__ import annotations

from renorm_cli.conventions.names.row import ANY, Row

_MESH = "tensorflow/mesh mesh_tensorflow/transformer/"
_IN = "in *out|in *heads *size"
_OUT = "in *out|heads size *out"
_SELF, _CROSS = "encoder/block_000/layer_000/SelfAttention/", "decoder/block_000/layer_001/EncDecAttention/"
_SLOTS = "tensorflow/mesh mesh_tensorflow/optimize.py"

ROWS = (
    *(
        Row(f"SelfAttention/{part}", "kernel", _IN, _SELF + part, (512, 8, 64), _MESH + "attention.py")
        for part in "qkv"
    ),
    Row("SelfAttention/o", "kernel", _OUT, _SELF + "o", (512, 512), _MESH + "attention.py"),
    *(
        Row(f"EncDecAttention/{part}", "kernel", _IN, _CROSS + part, (512, 384), _MESH + "attention.py")
        for part in "qkv"
    ),
    Row("EncDecAttention/o", "kernel", _OUT, _CROSS + "o", (8, 64, 512), _MESH + "attention.py"),
    Row(
        "relative_attention_bias",
        "parameter",
        "heads buckets",
        _SELF + "relative_attention_bias",
        (8, 32),
        _MESH + "transformer_layers.py",
    ),
    Row(
        "moe/wi/kernel",
        "kernel",
        "*experts in *out",
        "encoder/block_000/layer_001/moe/wi/kernel",
        (16, 512, 2048),
        _MESH + "moe.py",
    ),
    Row(
        "moe/wo/kernel",
        "kernel",
        "*experts in *out",
        "encoder/block_000/layer_001/moe/wo/kernel",
        (16, 2048, 512),
        _MESH + "moe.py",
    ),
    *(
        Row(f"{name}/scale", "scale", "n", f"encoder/{name}/scale", (512,), _MESH + "transformer.py")
        for name in ("rms_norm", "layer_norm", "final_layer_norm")
    ),
    *(
        Row(f"*_slot_{slot}", "optimizer", ANY, f"shared/embedding_slot_{slot}", (32128,), _SLOTS)
        for slot in ("vr", "vc", "v", "m")
    ),
)
"""The rows of this convention."""
