"""Names of TensorFlow's nmt that are not the default names of TensorFlow's layers."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_HELPER = "tensorflow/nmt nmt/model_helper.py"

ROWS = (
    Row(
        "embedding_encoder", "embedding", "*tokens size", "embeddings/encoder/embedding_encoder", (17191, 512), _HELPER
    ),
    Row("embedding_decoder", "embedding", "*tokens size", "embeddings/decoder/embedding_decoder", (7709, 512), _HELPER),
    Row("embedding_share", "embedding", "*tokens size", "embeddings/embedding_share", (36549, 1024), _HELPER),
)
"""The rows of this convention."""
