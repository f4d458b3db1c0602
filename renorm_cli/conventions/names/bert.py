"""Names of BERT, and of ALBERT and ELECTRA, which keep them.

Matrices named `output_weights` are (out, in): they are multiplied transposed.
"""

from __future__ import annotations

from renorm_cli.conventions.names.row import ANY, Row

_MODEL = "google-research/bert modeling.py"
_ADAM = "google-research/bert optimization.py"
_TABLE = "*tokens size"

ROWS = (
    Row("embeddings/word_embeddings", "embedding", _TABLE, "bert/embeddings/word_embeddings", (30522, 768), _MODEL),
    Row(
        "embeddings/token_type_embeddings",
        "embedding",
        _TABLE,
        "bert/embeddings/token_type_embeddings",
        (2, 768),
        _MODEL,
    ),
    Row(
        "embeddings/position_embeddings",
        "embedding",
        "*positions size",
        "bert/embeddings/position_embeddings",
        (512, 768),
        _MODEL,
    ),
    Row(
        "self/query/kernel", "kernel", "in *out", "bert/encoder/layer_0/attention/self/query/kernel", (768, 768), _MODEL
    ),
    Row("self/key/kernel", "kernel", "in *out", "bert/encoder/layer_0/attention/self/key/kernel", (768, 768), _MODEL),
    Row(
        "self/value/kernel", "kernel", "in *out", "bert/encoder/layer_0/attention/self/value/kernel", (768, 768), _MODEL
    ),
    Row(
        "seq_relationship/output_weights",
        "kernel",
        "*out in",
        "cls/seq_relationship/output_weights",
        (2, 768),
        "google-research/bert run_pretraining.py",
    ),
    Row(
        "squad/output_weights",
        "kernel",
        "*out in",
        "cls/squad/output_weights",
        (2, 768),
        "google-research/bert run_squad.py",
    ),
    Row(
        "output_weights",
        "kernel",
        "*out in",
        "output_weights",
        (3, 768),
        "google-research/bert run_classifier.py",
        True,
    ),
    Row("output_bias", "bias", "n", "cls/predictions/output_bias", (30522,), "google-research/bert run_pretraining.py"),
    Row("*/adam_m", "optimizer", ANY, "bert/pooler/dense/kernel/adam_m", (768, 768), _ADAM),
    Row("*/adam_v", "optimizer", ANY, "bert/pooler/dense/kernel/adam_v", (768, 768), _ADAM),
)
"""The rows of this convention."""
