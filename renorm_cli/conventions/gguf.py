"""What the names of ggml tell: every matrix is (out, in), so units are its first axis; those of a bank are stacked.

Names: `gguf/constants.py` of llama.cpp (`TENSOR_NAMES`): "blk.0.attn_q.weight", "token_embd.weight". Shapes:
`create_tensor` in its models, which has the axes in the opposite order.
"""

from __future__ import annotations

from collections.abc import Sequence

from renorm_cli.model.identity import Claim
from renorm_cli.model.variable import Variable

_TABLES = frozenset(("token_embd", "position_embd", "token_types", "per_layer_token_embd", "patch_embd_position"))
_LORA = frozenset(("lora_a", "lora_b"))
_EXPERTS = ("_exps", "_chexps")
_BANKS = frozenset(("attn_k_b", "attn_v_b", "time_mix_w2"))
"""A matrix for each head of DeepSeek's attention, or for each mixture of RWKV; files also have them as one matrix."""
_SCALES = frozenset(("time_mix_first", "time_mix_lerp_fused"))
"""What RWKV multiplies element by element."""
_LONGEST = 100


def claims(variables: Sequence[Variable]) -> dict[str, Claim]:
    """What the variables of one file tell, by key; their axes are in C order."""
    found = ((variable.key, _claim(variable.name, len(variable.shape))) for variable in variables)
    return {key: claim for key, claim in found if claim is not None}


def _claim(name: str, rank: int) -> Claim | None:
    path, _, own = name[-_LONGEST:].rpartition(".")
    layer, by = path.rpartition(".")[2], f"the name {name[-_LONGEST:]!r}"
    if own in _LORA:
        return Claim("name", "lora", None, by)
    if own == "bias":
        return Claim("name", "bias", None, by)
    if own == "scale" or "norm" in layer or layer in _SCALES:
        return Claim("name", "scale", None, by)
    if own != "weight" or rank < 2:
        return None
    if layer in _TABLES:
        return Claim("name", "embedding", (0,), by)
    if layer.endswith(_EXPERTS):
        return Claim("name", "kernel", (0, 1) if rank == 3 else None, by)
    return Claim("name", "kernel", (0, 1) if layer in _BANKS and rank == 3 else (0,), by)
