"""Names of XLNet and Transformer-XL.

Kernels of XLNet's attention are (model, heads, size), that of its output too: there the model's axis names units.
"""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_XLNET = "zihangdai/xlnet modeling.py"
_TXL = "kimiyoung/transformer-xl tf/model.py"
_HEADS = "in *heads *size"

ROWS = (
    Row(
        "lookup_table",
        "embedding",
        "*tokens size",
        "model/transformer/word_embedding/lookup_table",
        (32000, 768),
        _XLNET,
    ),
    Row("rel_attn/q/kernel", "kernel", _HEADS, "model/transformer/layer_0/rel_attn/q/kernel", (768, 12, 64), _XLNET),
    Row("rel_attn/k/kernel", "kernel", _HEADS, "model/transformer/layer_0/rel_attn/k/kernel", (768, 12, 64), _XLNET),
    Row("rel_attn/v/kernel", "kernel", _HEADS, "model/transformer/layer_0/rel_attn/v/kernel", (768, 12, 64), _XLNET),
    Row("rel_attn/r/kernel", "kernel", _HEADS, "model/transformer/layer_0/rel_attn/r/kernel", (768, 12, 64), _XLNET),
    Row(
        "rel_attn/o/kernel",
        "kernel",
        "*out heads size",
        "model/transformer/layer_0/rel_attn/o/kernel",
        (768, 12, 64),
        _XLNET,
    ),
    Row("lm_loss/weight", "kernel", "*tokens size", "model/lm_loss/weight", (32000, 768), _XLNET),
    Row("mask_emb", "parameter", "1 1 n", "model/transformer/mask_emb/mask_emb", (1, 1, 768), _XLNET),
    Row("seg_embed", "parameter", "layers 2 heads size", "model/transformer/seg_embed", (12, 2, 12, 64), _XLNET),
    Row("r_w_bias", "bias", "heads size|layers heads size", "model/transformer/r_w_bias", (12, 12, 64), _XLNET),
    Row("r_r_bias", "bias", "heads size|layers heads size", "model/transformer/r_r_bias", (12, 12, 64), _XLNET),
    Row("r_s_bias", "bias", "heads size|layers heads size", "model/transformer/r_s_bias", (12, 12, 64), _XLNET),
    Row(
        "adaptive_softmax/cutoff_1/proj",
        "kernel",
        "*out in",
        "transformer/adaptive_softmax/cutoff_1/proj",
        (64, 256),
        _TXL,
    ),
    Row(
        "adaptive_softmax/cutoff_0/cluster_W",
        "kernel",
        "*out in",
        "transformer/adaptive_softmax/cutoff_0/cluster_W",
        (3, 1024),
        _TXL,
    ),
)
"""The rows of this convention."""
