"""The weights of a file by the module that has them, and what a weight's own name says of it.

Names are paths with dots, `encoder.layers.0.fc1.weight`: the last part is the weight's own name, the rest its module.
Sources: torch.nn 2.14, transformers 5.24, peft 0.21, compressed-tensors 0.20, bitsandbytes 0.50, mlx 0.32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Variable, logical

LONGEST = 256
"""Characters of a part of a name that can be a word."""

_LORA = re.compile(r"(?:^|[._])lora[._]", re.IGNORECASE)
_OPTIMIZER = frozenset(("optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict"))
_MOMENTS = frozenset(("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg"))
_STATISTICS = frozenset(("running_mean", "running_var", "num_batches_tracked"))
_STATE = frozenset(
    ("inv_freq", "position_ids", "token_type_ids", "masked_bias", "attn_mask", "relative_position_index")
)
_PARAMETERS = frozenset(
    {
        "A_log",
        "cls_token",
        "class_embedding",
        "class_token",
        "dist_token",
        "gamma_1",
        "gamma_2",
        "layer_scale",
        "logit_scale",
        "mask_token",
        "query_tokens",
        "register_tokens",
        "rel_pos_h",
        "rel_pos_w",
        "relative_position_bias_table",
    }
)
"""Parameters that add or scale, and multiply no vector of inputs."""
_POSITIONS = frozenset(
    ("pos_embed", "pos_embedding", "position_embedding", "position_embeddings", "positional_embedding")
)
"""Tables of positions: as two axes they are those of an embedding, a row a position."""
_GATES = re.compile(r"weight_(?:ih|hh|hr)(?:_l[0-9]{1,6}(?:_reverse)?)?")
_PROJECTIONS = frozenset(("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"))
_MLX_CELL = frozenset(("Wx", "Wh", "Wxh", "Whh"))
_BIASES = re.compile(r"bias|bias_.*|.*_bias|attention_biases|dt_bias")

_NORM = re.compile(
    r"(?:.*_)?(?:(?:layer|rms|batch|group|instance)_?norm|norm|ln|bn|gn|grn)"
    r"(?:_?[0-9]{1,3}|_[a-z]{1,3}|_(?:final|layer|first|last|post|before|after))?"
)
_TABLE = re.compile(r"embed|wte|wpe|shared|lookup|codebook|(?:^|_)tok|(?:^|_)embs?(?:_?[0-9]{1,6})?$")
_NO_TABLE = re.compile(r"patch|gate")

_OF_QUANTIZED = frozenset(
    {
        "SCB",
        "g_idx",
        "qweight",
        "qzeros",
        "weight_format",
        "weight_global_scale",
        "weight_g_idx",
        "weight_packed",
        "weight_scale",
        "weight_scale_2",
        "weight_scale_inv",
        "weight_shape",
        "weight_zero_point",
        "input_scale",
        "input_global_scale",
    }
)
"""Own names that stand beside quantized weights alone."""
_PACKED = re.compile(r"(.*)\.weight\.(?:absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)", re.DOTALL)
_MX = ("_blocks", "_scales")


@dataclass(frozen=True, slots=True)
class Weight:
    """One array of a module. `shape` is that of the framework, of which the file may store the axes in another order.

    `role` is what the own name says, "unknown" where it says nothing.
    """

    variable: Variable
    module: str
    own: str
    shape: tuple[int, ...]
    role: Role


Module = Mapping[str, Weight]
"""The arrays of a module by their own names."""


def modules(variables: Iterable[Variable]) -> dict[str, dict[str, Weight]]:
    """All modules that have weights of their own, by path."""
    found: dict[str, dict[str, Weight]] = {}
    for variable in variables:
        packed = _PACKED.fullmatch(variable.name) if variable.name[-64:].count(".weight.") else None
        path, _, own = variable.name.rpartition(".") if packed is None else (packed[1], "", variable.name)
        shape = logical(variable)
        found.setdefault(path, {})[own] = Weight(variable, path, own, shape, _role(variable, path, own, shape))
    for module in found.values():
        if _is_quantized(module):
            for own, weight in module.items():
                if weight.role != "bias" and _takes_part(own, module):
                    module[own] = Weight(weight.variable, weight.module, own, weight.shape, "quantized")
    return found


def word(path: str) -> str:
    """The last part of a path that is no number: what a module is called, or the list that it is in."""
    for part in reversed(path.rsplit(".", 3)[-3:]):
        if not part.isdecimal():
            return part if len(part) <= LONGEST else ""
    return ""


def is_norm(path: str) -> bool:
    """Whether a module is called a normalization."""
    return _NORM.fullmatch(word(path).lower()) is not None


def is_table(path: str) -> bool:
    """Whether a module is called an embedding."""
    name = word(path).lower()
    return _TABLE.search(name) is not None and _NO_TABLE.search(name) is None


def bias_of(weight: Weight, found: Mapping[str, Module]) -> int | None:
    """The length of the bias beside it, which a parametrized module has one level up."""
    bias = found.get(weight.module, {}).get("bias")
    return bias.shape[0] if bias is not None and len(bias.shape) == 1 else None


def vector(module: Module | None) -> int | None:
    """The length of the `weight` of a module, where that has one axis."""
    weight = None if module is None else module.get("weight")
    return weight.shape[0] if weight is not None and len(weight.shape) == 1 else None


def _role(variable: Variable, path: str, own: str, shape: Sequence[int]) -> Role:
    if variable.state is not None:
        return variable.state
    if len(own) > LONGEST:
        return "unknown"
    if own in _MOMENTS or not _OPTIMIZER.isdisjoint(path.split(".", 2)[:2]):
        return "optimizer"
    if _LORA.search(variable.name):
        return "lora"
    if own in _STATISTICS:
        return "statistic"
    if own in _STATE:
        return "state"
    if own in _POSITIONS:
        return "embedding" if len(shape) == 2 else "parameter"
    if own in _PARAMETERS:
        return "parameter"
    if _BIASES.fullmatch(own):
        return "state" if len(shape) > 3 and shape[-1] == shape[-2] else "bias"  # a mask, as GPT-2 has it
    rank = len(shape)
    if own == "weight":
        return _role_of_weight(path, shape)
    if rank == 2 and (_GATES.fullmatch(own) or own in _PROJECTIONS):
        return "kernel"
    return "unknown"


def _role_of_weight(path: str, shape: Sequence[int]) -> Role:
    rank = len(shape)
    if rank < 2:
        return "scale"
    if is_norm(path):
        return "scale" if math.prod(shape[:-1]) == 1 else "unknown"
    return "embedding" if rank == 2 and is_table(path) else "kernel"


def is_cell(module: Module) -> bool:
    """Whether a module has both kernels of a recurrent cell of MLX."""
    return {"Wx", "Wh"} <= module.keys() or {"Wxh", "Whh"} <= module.keys()


def in_cell(own: str) -> bool:
    """Whether it is a kernel of such a cell by its own name."""
    return own in _MLX_CELL


def _is_quantized(module: Module) -> bool:
    if not _OF_QUANTIZED.isdisjoint(module) or {"weight", "scales", "biases"} <= module.keys():
        return True
    return any(_PACKED.fullmatch(own) is not None for own in module if len(own) > 16) or any(
        own.endswith(_MX[0]) and own.removesuffix(_MX[0]) + _MX[1] in module for own in module
    )


def _takes_part(own: str, module: Module) -> bool:
    """Whether an array beside quantized weights belongs to them: in a bank of experts only what is packed does."""
    if any(name.endswith(_MX[0]) for name in module):
        return own.endswith(_MX)
    return True
