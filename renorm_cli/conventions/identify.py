"""What each variable of a file is, and which of its axes name units, from all that the file tells.

Names say what a weight is for, the rest of the file how it is used. So the axes come from the layer's class where the
file's config tells it, then from the graph, from the shapes of siblings, from names, and last from the shape alone:
that is a guess. For roles names come before graph and shapes: a LoRA factor is used like a kernel, and statistics that
are not fused like scales. A name only says what such weights usually are, so it yields to the rest; where others that
know disagree, the axes are a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, get_args

from renorm_cli.conventions import shapes
from renorm_cli.conventions.keras import weights as keras
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import BOUNDED, AxisSource, Claim, Identity, Role
from renorm_cli.model.variable import Hint, Variable, stored


class Convention(Protocol):
    """How a family of files names its weights and orders their axes."""

    def claims(self, hint: Hint, shape: tuple[int, ...]) -> Iterable[Claim]:
        """What the hint tells of a weight of this shape; nothing where it does not say."""
        ...


CONVENTIONS: dict[str, Convention] = {"keras": keras}
"""The conventions in which a weight tells by itself what it is."""

WholeFile = Callable[[Sequence[Variable], Mapping[str, Role]], Mapping[str, Claim]]
"""What all variables of a file tell together, by key; the roles are what each tells by itself."""


def _by_conventions(variables: Sequence[Variable], roles: Mapping[str, Role]) -> Mapping[str, Claim]:
    """What names mean in the conventions that the file follows; asked where no layer's class tells a matrix."""
    if not any(_is_open(variable, roles[variable.key]) for variable in variables):
        return {}
    from renorm_cli.conventions.names import registry

    return registry.claims(variables)


def _is_open(variable: Variable, role: Role) -> bool:
    if len(variable.shape) < 2 or variable.state is not None or variable.dtype not in FLOATS:
        return False
    return role == "unknown" or variable.hint.layer is None


def _torch(variables: Sequence[Variable], roles: Mapping[str, Role]) -> Mapping[str, Claim]:
    from renorm_cli.conventions.torch import weights  # few files need it, as those below

    return weights.claims(variables)


def _mlx(variables: Sequence[Variable], roles: Mapping[str, Role]) -> Mapping[str, Claim]:
    from renorm_cli.conventions.torch import weights

    return weights.claims(variables, outputs_first=True)


def _flax(variables: Sequence[Variable], roles: Mapping[str, Role]) -> Mapping[str, Claim]:
    from renorm_cli.conventions import flax

    return flax.claims(variables)


def _gguf(variables: Sequence[Variable], roles: Mapping[str, Role]) -> Mapping[str, Claim]:
    from renorm_cli.conventions import gguf

    return gguf.claims(variables)


WHOLE_FILE: dict[str, tuple[WholeFile, ...]] = {
    "keras": (shapes.claims, _by_conventions),
    "torch": (_torch,),
    "mlx": (_mlx,),
    "flax": (_flax,),
    "gguf": (_gguf,),
}
"""What the variables of a convention tell together."""

_BY_AXES: Mapping[AxisSource, int] = {source: place for place, source in enumerate(get_args(AxisSource))}
_BY_ROLE: Mapping[AxisSource, int] = {"like": 0, "layer": 1, "name": 2, "graph": 3, "shape": 4}
_YIELDING: frozenset[Role] = frozenset({"bias", "scale", "statistic", "parameter"})
"""Roles by name that a use as a kernel contradicts. Further roles by name are of weights that are used like kernels."""


def identify(variables: Sequence[Variable], lent: Mapping[str, Claim] | None = None) -> tuple[Variable, ...]:
    """The variables of one file with their identities.

    `lent` has what another file of the same model says of them, by key.
    """
    kinds: dict[tuple[object, ...], Identity] = {}
    lent = lent or {}

    def identity(variable: Variable, *together: Claim) -> Identity:
        """The many layers of a file are of few kinds: what tells the same is told apart once."""
        others = (*together, lent[variable.key]) if variable.key in lent else together
        kind = (variable.shape, variable.hint, variable.use, variable.state, others)
        found = kinds.get(kind)
        if found is None:
            found = kinds[kind] = _identity(variable, (*others, *_claims(variable)))
        return found

    alone = [identity(variable) for variable in variables]
    roles = {variable.key: known.role for variable, known in zip(variables, alone, strict=True)}
    joined: dict[str, tuple[Claim, ...]] = {}
    for convention in dict.fromkeys(variable.hint.convention for variable in variables):
        own = [variable for variable in variables if variable.hint.convention == convention]
        for source in WHOLE_FILE.get(convention, ()):
            for key, claim in source(own, roles).items():  # first, because names together tell more than a name alone
                joined[key] = (claim, *joined.get(key, ()))
    return tuple(
        replace(variable, identity=identity(variable, *joined[variable.key]) if variable.key in joined else known)
        for variable, known in zip(variables, alone, strict=True)
    )


def identity_of(variable: Variable) -> Identity:
    """The identity of a variable; of one that is not identified yet, as far as it tells by itself."""
    if variable.identity is None:
        return _identity(variable, _claims(variable))
    return variable.identity


def role_of(variable: Variable) -> Role:
    """What the variable is."""
    return identity_of(variable).role


def unit_axes(variable: Variable) -> tuple[tuple[int, ...], AxisSource]:
    """The axes that name units, non-negative and sorted, and what told them; () makes the whole array one unit."""
    identity = identity_of(variable)
    return identity.unit_axes, identity.axis_source


_CONVOLVING = frozenset(
    f"{op}{end}"
    for op in ("Conv2D", "Conv3D", "DepthwiseConv2dNative")
    for end in ("", "BackpropInput", "BackpropInputV2")
)
"""Ops of a graph whose filter has its spatial axes first."""
_CONVOLVING_LAST = frozenset({"Conv", "ConvTranspose", "com.microsoft.FusedConv"})
"""Operators of ONNX, whose filter has them last."""

_OUTPUTS_FIRST = frozenset({"torch", "mlx", "gguf"})
"""Conventions in which the first axis names the outputs of most layers."""

_CONVOLVING_BETWEEN = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "TRANSPOSE_CONV": (1, 2),
    "CONV_3D": (0, 1, 2),
    "CONV_3D_TRANSPOSE": (0, 1, 2),
}
"""Operators of TensorFlow Lite, with the spatial axes of their filters."""


def spatial_axes(variable: Variable) -> tuple[int, ...]:
    """The axes along which a convolution moves its kernel; () where it is not known to be one."""
    rank, hint = len(variable.shape), variable.hint
    if rank < 3:
        return ()
    if hint.convention == "torch" and role_of(variable) == "kernel":
        return stored(range(2, rank), variable)  # its matrices have no more than two axes
    ops = () if variable.use is None else variable.use.ops
    if hint.convention == "onnx":
        return tuple(range(2, rank)) if ops and _CONVOLVING_LAST.issuperset(ops) else ()
    if hint.convention == "tflite":
        return _CONVOLVING_BETWEEN.get(ops[0], ()) if len(ops) == 1 else ()
    by_graph = bool(ops) and _CONVOLVING.issuperset(ops)
    return stored(range(rank - 2), variable) if by_graph or keras.convolves(hint.layer, rank) else ()


def _claims(variable: Variable) -> list[Claim]:
    """What the variable tells by itself."""
    convention = CONVENTIONS.get(variable.hint.convention)
    claims = [] if convention is None else list(convention.claims(variable.hint, variable.shape))
    use = variable.use
    if use is not None and use.ops:
        role = None if use.role == "unknown" else use.role
        depthwise = use.ops == ("DepthwiseConv2dNative",) and use.unit_axes == (2, 3)
        claims.append(Claim("graph", role, use.unit_axes, f"the op {' '.join(use.ops)}", (2,) if depthwise else ()))
    return claims


def _identity(variable: Variable, claims: Sequence[Claim]) -> Identity:
    role, conflict = variable.state or "unknown", None
    if variable.state is None:
        told = sorted((one for one in claims if one.role is not None), key=lambda one: _BY_ROLE[one.source])
        if told:
            role = told[0].role or role
            conflict = _role_conflict(told) if len(variable.shape) >= 2 else None
            role = conflict[0] if conflict is not None else role
    axes, source, axes_conflict = _axes(variable, claims)
    text = conflict[1] if conflict is not None else axes_conflict
    shared = next((one.shared for one in claims if one.shared and one.unit_axes == axes), ())
    return Identity(role, axes, "guess" if text is not None else source, text, shared)


def _role_conflict(told: Sequence[Claim]) -> tuple[Role, str] | None:
    """A use as a kernel that the name contradicts: the role by use, and both claims."""
    first = told[0]
    if first.source != "name" or first.role not in _YIELDING:
        return None
    for other in told[1:]:
        if first.role == "parameter" and other.role == "embedding":
            continue  # a bias by relative positions is looked up as words are
        if other.role in BOUNDED and other.unit_axes is not None:
            return other.role, f"{first.told} tells a {first.role}, {other.told} tells a {other.role}"
    return None


def _axes(variable: Variable, claims: Sequence[Claim]) -> tuple[tuple[int, ...], AxisSource, str | None]:
    """The unit axes, what told them, and how two sources that know disagree, if they do."""
    shape = variable.shape
    told = sorted(
        ((one.unit_axes, one) for one in claims if one.unit_axes is not None), key=lambda one: _BY_AXES[one[1].source]
    )
    if not told:
        return _usual_axes(variable), "guess", None
    axes, first = told[0]
    for others, other in told[1:]:
        # A table that is looked up by a product with one-hot rows is used like a kernel.
        knows = other.source != "name" or (other.role, first.role) == ("embedding", "kernel")
        if knows and _wide(others, shape) != _wide(axes, shape):
            text = f"{first.told} tells units along {_listed(axes)}, {other.told} along {_listed(others)}"
            return axes, "guess", text
    return axes, first.source, None


def _usual_axes(variable: Variable) -> tuple[int, ...]:
    """The axis that names units in most layers of the convention, so that a guess is right where most are."""
    rank, ops = len(variable.shape), () if variable.use is None else variable.use.ops
    if rank < 2:
        return ()
    if variable.hint.convention in _OUTPUTS_FIRST:
        return stored((0,), variable)
    if ops and _CONVOLVING_LAST.issuperset(ops):
        return (1,) if set(ops) == {"ConvTranspose"} else (0,)
    return (rank - 1,)


def _wide(axes: Iterable[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The axes that are longer than 1: one of length 1 may name units or not."""
    return tuple(axis for axis in axes if shape[axis] != 1)


def _listed(axes: Iterable[int]) -> str:
    return f"axis {' '.join(map(str, axes))}" if axes else "no axis"
