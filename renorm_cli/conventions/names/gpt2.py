"""Names of GPT and GPT-2: dense layers are convolutions of width 1."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_GPT2 = "openai/gpt-2 src/model.py"
_GPT = "openai/finetune-transformer-lm train.py"

ROWS = (
    Row("wte", "embedding", "*tokens size", "model/wte", (50257, 768), _GPT2),
    Row("wpe", "embedding", "*positions size", "model/wpe", (1024, 768), _GPT2),
    Row("attn/c_attn/w", "kernel", "1 n *3n", "model/h0/attn/c_attn/w", (1, 768, 2304), _GPT2),
    Row("attn/c_proj/w", "kernel", "1 in *out", "model/h0/attn/c_proj/w", (1, 768, 768), _GPT2),
    Row("mlp/c_fc/w", "kernel", "1 in *out", "model/h0/mlp/c_fc/w", (1, 768, 3072), _GPT2),
    Row("mlp/c_proj/w", "kernel", "1 in *out", "model/h0/mlp/c_proj/w", (1, 3072, 768), _GPT2),
    Row("ln_1/g", "scale", "n", "model/h0/ln_1/g", (768,), _GPT2),
    Row("ln_f/g", "scale", "n", "model/ln_f/g", (768,), _GPT2),
    Row("ln_1/b", "bias", "n", "model/h0/ln_1/b", (768,), _GPT2),
    Row("ln_f/b", "bias", "n", "model/ln_f/b", (768,), _GPT2),
    Row("c_attn/b", "bias", "n", "model/h0/attn/c_attn/b", (2304,), _GPT2),
    Row("c_proj/b", "bias", "n", "model/h0/attn/c_proj/b", (768,), _GPT2),
    Row("c_fc/b", "bias", "n", "model/h0/mlp/c_fc/b", (3072,), _GPT2),
    Row("model/we", "embedding", "*tokens size", "model/we", (40990, 768), _GPT),
    Row("model/clf/w", "kernel", "in *out", "model/clf/w", (768, 1), _GPT),
)
"""The rows of this convention."""
