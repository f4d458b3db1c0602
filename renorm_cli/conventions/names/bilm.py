"""Names of ELMo's bidirectional language model."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_MODEL = "allenai/bilm-tf bilm/model.py"

ROWS = (
    Row("char_embed", "embedding", "*tokens size", "bilm/char_embed", (261, 16), _MODEL),
    Row("W_cnn_0", "kernel", "1 w in *out", "bilm/CNN/W_cnn_0", (1, 1, 16, 32), _MODEL),
    Row("W_proj", "kernel", "in *out", "bilm/CNN_proj/W_proj", (2048, 512), _MODEL),
    Row("W_carry", "kernel", "n *n", "bilm/CNN_high_0/W_carry", (2048, 2048), _MODEL),
    Row("W_transform", "kernel", "n *n", "bilm/CNN_high_0/W_transform", (2048, 2048), _MODEL),
    Row(
        "softmax/W",
        "kernel",
        "*out in",
        "lm/softmax/W",
        (793471, 512),
        "allenai/bilm-tf bilm/training.py",
        beside=("b",),
    ),
)
"""The rows of this convention."""
