"""What another checkpoint of the same model lends: names, roles and unit axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from renorm_cli.conventions.identify import identify, identity_of
from renorm_cli.errors import SelectionError, Way
from renorm_cli.model.coverage import is_matrix, some_matrices
from renorm_cli.model.identity import BOUNDED, Claim
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable, logical, stored
from renorm_cli.text import counted, show


@dataclass(frozen=True, slots=True)
class Like:
    """Another checkpoint: its path, and its variables with their identities."""

    path: str
    variables: tuple[Variable, ...]

    @classmethod
    def of(cls, path: str, variables: Sequence[Variable]) -> Like:
        return cls(path, identify(variables))


def lent(variables: Sequence[Variable], like: Like) -> tuple[tuple[Variable, ...], tuple[Note, ...]]:
    """The variables of a checkpoint with what another one of the same model lends them, and notes on what it does not.

    Two variables belong together if a name, an alias or a key of the one is one of the other's, and of no third. Where
    the framework sees equal shapes, the one has the names of the other as aliases, its class if it has none and stores
    the axes in the same order, and its claims.
    Raises SelectionError for a checkpoint of another model: nothing fits, or more matrices have other shapes than fit.
    """
    partners = _partners(variables, like)
    fitting = {key: other for key, (one, other) in partners.items() if logical(one) == logical(other)}
    unfit = [(one, other) for key, (one, other) in partners.items() if key not in fitting]
    fit = sum(_counts(one) for one in variables if one.key in fitting)
    unfit_matrices = [(one, other) for one, other in unfit if _counts(one)]
    if not fitting or len(unfit_matrices) > fit:
        raise SelectionError(_another_model(variables, like, unfit_matrices or unfit), Way("like", "give another"))
    notes = (Note(f"{like.path!r} lends nothing to {_shapes(unfit)}", warning=True),) if unfit else ()
    renamed = [_renamed(one, fitting[one.key]) if one.key in fitting else one for one in variables]
    claims = {
        one.key: claim
        for one in variables
        if one.key in fitting and (claim := _claim(one, fitting[one.key], like)) is not None
    }
    return identify(renamed, claims), notes


def _partners(variables: Sequence[Variable], like: Like) -> Mapping[str, tuple[Variable, Variable]]:
    """The variables that have a partner, with it, by key."""
    own, others = _by_label(variables), _by_label(like.variables)
    found: dict[str, tuple[Variable, Variable]] = {}
    for variable in variables:
        for label in (variable.name, *variable.aliases, variable.key):
            other = others.get(label)
            if other is not None and own.get(label) is not None:
                found[variable.key] = variable, other
                break
    return found


def _by_label(variables: Sequence[Variable]) -> Mapping[str, Variable | None]:
    """The variable of each label, None where several weights have it."""
    found: dict[str, Variable | None] = {}
    for variable in variables:
        for label in dict.fromkeys((variable.name, variable.key, *variable.aliases)):
            before = found.get(label, variable)
            same = before is not None and (before is variable or before.key in variable.copies)
            found[label] = before if same else None
    return found


def _renamed(variable: Variable, other: Variable) -> Variable:
    labels = dict.fromkeys((*variable.aliases, other.name, *other.aliases))
    labels.pop(variable.name, None)
    lends_class = (
        variable.layer is None
        and other.layer is not None
        and identity_of(other).conflict is None
        and variable.hint.order == other.hint.order  # a class tells of axes as they are stored
    )
    hint = other.hint if lends_class else variable.hint
    return replace(variable, aliases=tuple(labels), hint=hint, identity=None)


def _claim(variable: Variable, other: Variable, like: Like) -> Claim | None:
    """What the other variable tells for sure, of the axes as the first one stores them."""
    identity = identity_of(other)
    if identity.role == "unknown":
        return None
    axes = identity.unit_axes if identity.role in BOUNDED and identity.axis_source != "guess" else None
    shared = identity.shared if axes else ()
    if variable.hint.order != other.hint.order:
        axes = axes and stored(_seen(axes, other), variable)
        shared = stored(_seen(shared, other), variable)
    return Claim("like", identity.role, axes, f"{other.name!r} in {like.path!r}", shared)


def _seen(axes: Iterable[int], variable: Variable) -> Iterable[int]:
    """Axes of the stored array as axes of the framework."""
    order = variable.hint.order
    return axes if order is None else (order[axis] for axis in axes)


def _counts(variable: Variable) -> bool:
    return is_matrix(variable, identity_of(variable).role)


def _another_model(variables: Sequence[Variable], like: Like, unfit: Sequence[tuple[Variable, Variable]]) -> str:
    why = (
        f"most shapes differ: {_shapes(unfit)}"
        if unfit
        else f"none of its {counted(len(like.variables), 'variable')} has a name of these {len(variables)}"
    )
    return f"{like.path!r} does not fit: {why}"


def _shapes(unfit: Sequence[tuple[Variable, Variable]]) -> str:
    found = [(f"'{show(one.name)}'", logical(one)) for one, _ in unfit[:4]]
    there = "x".join(map(str, logical(unfit[0][1]))) or "scalar"
    return f"{some_matrices(found, len(unfit))}; the first is {there} there"
