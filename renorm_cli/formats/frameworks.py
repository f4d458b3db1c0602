"""Arrays whose names are those of a framework (PyTorch, MLX, flax, Keras): which one, and what it says of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from renorm_cli.errors import some_names
from renorm_cli.formats.naming import from_names, plain_name
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable

_FLAX = frozenset(("kernel", "embedding", "scale"))
_FLAX_TREES = ("params", "batch_stats")
_SINGULAR = "the model divides it by its largest singular value"
_DIVIDED = {
    "weight_v": ("weight_g", "the model divides it by its norm, weight_g has the norm of each unit"),
    "original1": ("original0", "the model divides it by its norm, original0 has the norm of each unit"),
    "weight_orig": ("weight_u", _SINGULAR),
    "original": ("0._u", _SINGULAR),
}
"""What stands beside weights that a module divides (torch.nn.utils, weight and spectral normalization)."""
_LORA = ".base_layer.weight"


def described(variables: Sequence[Variable], framework: str | None = None) -> tuple[Variable, ...]:
    """The variables with what the framework's convention needs to know of each.

    `framework` is "torch", "mlx", "flax" or "keras"; None where only the names tell.
    """
    framework = framework or _framework(variable.name for variable in variables)
    if framework == "keras":
        named = (replace(one, name=plain_name(one.name)) for one in variables)
        # What Keras' names tell is of arrays in C order.
        return tuple(one if one.hint.order is not None else from_names(one, one.name) for one in named)
    hinted = (
        replace(one, hint=replace(one.hint, convention=framework, weight=_own_name(one.name))) for one in variables
    )
    return tuple(_locked(list(hinted)))


def with_aliases(variables: Iterable[Variable], aliases: Mapping[str, Sequence[str]]) -> tuple[Variable, ...]:
    """The variables with further names, by key."""
    return tuple(replace(one, aliases=tuple(aliases[one.key])) if one.key in aliases else one for one in variables)


def notes(variables: Sequence[Variable]) -> tuple[Note, ...]:
    """A warning where weights are stored beside an update that is added to them."""
    bases = [variable.name for variable in variables if variable.name.endswith(_LORA)]
    if not bases:
        return ()
    text = (
        "a LoRA update beside it is added, so bounding it does not bound the weight in effect; merge the update first"
    )
    return (Note(f"{some_names(bases)}: {text}", warning=True),)


def _framework(names: Iterable[str]) -> str:
    dotted = slashed = flax = False
    for name in names:
        own = _own_name(name)
        if own == "weight" and "/" not in name:
            return "torch"
        if own in _FLAX:
            flax = flax or "/" not in name or name.startswith(_FLAX_TREES)
        slashed = slashed or "/" in name
        dotted = dotted or "." in name
    if flax:
        return "flax"
    return "torch" if dotted and not slashed else "keras"


def _own_name(name: str) -> str:
    return name[max(name.rfind("."), name.rfind("/")) + 1 :]


def _locked(variables: Sequence[Variable]) -> Iterator[Variable]:
    """The variables, of which those that a module divides are not to be changed."""
    names = {variable.name for variable in variables}
    for variable in variables:
        path, dot, own = variable.name.rpartition(".")
        beside, locked = _DIVIDED.get(own, ("", ""))
        is_divided = beside and len(variable.shape) > 1 and f"{path}{dot}{beside}" in names
        yield replace(variable, locked=locked) if is_divided else variable
