"""What the keywords of the verbs ask for, as the data that the rooms below work with."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from renorm_cli.api.keywords import (
    Convolution,
    Device,
    Dtypes,
    Engine,
    NormKind,
    PathLike,
    Patterns,
    Roles,
    Units,
    shown,
)
from renorm_cli.errors import UsageError, Way
from renorm_cli.model.constraint import Constraint, Per, Selection
from renorm_cli.model.identity import Role
from renorm_cli.model.norm import EUCLIDEAN, SPECTRAL, PNorm, SpectralNorm
from renorm_cli.plan.bounds import bound_source
from renorm_cli.plan.planner import Request
from renorm_cli.plan.units import Units as UnitAxes
from renorm_cli.plan.units import parse_units, units_of
from renorm_cli.run.session import Computing

if TYPE_CHECKING:
    from renorm_cli.model.report import Allowed
    from renorm_cli.plan.rules import Rules
    from renorm_cli.run.shares import Workers


_LEAVE_OUT = {
    "norm": Way("norm", "leave out {}"),
    "spectral": Way("spectral", "leave out {}", True),
    "spectrum": Way("spectrum", "leave out {}", True),
}
"""What asks for spectral norms, and can be left out."""


def constraint_of(
    max_norm: float | None,
    norm: NormKind,
    p: float,
    per: Per,
    by: str = "norm",
    conv: Convolution = "matrix",
    *,
    ruled: bool = False,
) -> Constraint:
    """What is asked of norms, of spectral ones `by` a parameter; if `ruled`, rules may ask for those.

    Raises UsageError for a p or a scope with the spectral norm, which has neither.
    """
    limit, order = None if max_norm is None else float(max_norm), PNorm(float(p))
    if norm == "p":
        if conv == "operator" and not ruled:
            raise _no_operator()
        return Constraint(limit, order, per)
    leave = _LEAVE_OUT[by]
    if order != EUCLIDEAN:
        raise UsageError(f"a spectral norm has no p, got {p:g}", Way("p", "leave out {}"), leave)
    if per != "unit":
        raise UsageError(f"a spectral norm is that of one matrix, not per {per}", Way("per", "leave out {}"), leave)
    return Constraint(limit, SpectralNorm(operator=conv == "operator"), "tensor")


def _no_operator() -> UsageError:
    return UsageError("an operator norm is a spectral norm", Way("norm", "ask for it", "spectral"))


def selection_of(role: Roles | None, include: Patterns, exclude: Patterns) -> Selection:
    """Which variables are asked for. Raises UsageError for what is no role, or no pattern."""
    return Selection(_patterns("include", include), _patterns("exclude", exclude), _roles(role))


def _roles(given: Roles | None) -> frozenset[Role] | None:
    if given is None:
        return None
    words = given.split(",") if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    wanted = [word.strip() for word in words if isinstance(word, str)]
    if not wanted or len(wanted) < len(words) or not all(role in get_args(Role) for role in wanted):
        raise UsageError(f"role is one of {', '.join(get_args(Role))}, or several, got {shown(given)}")
    return frozenset(cast("list[Role]", wanted))


def allowed_of(allow_guess: bool, allow_unidentified: bool) -> tuple[Allowed, ...]:
    """What the user accepts."""
    found: dict[Allowed, bool] = {"guess": allow_guess, "unidentified": allow_unidentified}
    return tuple(what for what, allowed in found.items() if allowed)


def _patterns(name: str, given: Patterns) -> tuple[str, ...]:
    found = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if not all(isinstance(pattern, str) for pattern in found):
        raise UsageError(f"{name} is a pattern or several, got {shown(given)}")
    return found


def request_of(
    constraint: Constraint,
    selection: Selection,
    units: Units,
    *,
    rules: PathLike | Rules | None = None,
    conv: Convolution = "matrix",
    declared: Literal["apply", "check"] | None = None,
    must_act: bool = True,
    changes: bool = False,
    measures: bool = False,
) -> Request:
    """What is asked for. Raises UsageError for keywords that make no sense, or not together."""
    if isinstance(rules, str | os.PathLike):
        from renorm_cli.plan.rules_toml import read_rules

        rules = read_rules(Path(rules))
    if rules is not None and conv == "operator" and not constraint.is_spectral:
        if not any(rule.norm == SPECTRAL for rule in rules.rules):
            raise _no_operator()
        rules = rules.of_operators()
    source = bound_source(constraint, axes_of(units), rules=rules, declared=declared, measures=measures)
    return Request(source, selection, must_act, changes)


def axes_of(units: Units) -> UnitAxes:
    """The axes that name units, as they are said. Raises UsageError for what is no axes."""
    if isinstance(units, Mapping):
        return units_of(zip(_patterns("units", units), map(_axes, units.values()), strict=True))
    if isinstance(units, str):
        return units_of([parse_units(units)])
    several = list(units) if isinstance(units, Iterable) else [units]
    if all(isinstance(one, str) for one in several):
        return units_of(parse_units(str(one)) for one in several)
    return units_of([(None, _axes(several))])


def _axes(axes: object) -> str:
    """Axes as text."""
    if isinstance(axes, str):
        return axes
    try:
        return ",".join(str(_axis(axis)) for axis in (axes if isinstance(axes, Iterable) else (axes,)))
    except TypeError:
        raise UsageError(f"the units are auto or axes such as -1 or 0,1, got {shown(axes)}") from None


def _axis(axis: Any) -> int:
    """An axis as an integer. Raises TypeError for what is none; True is none, though it is an int to Python."""
    if isinstance(axis, bool):
        raise TypeError(axis)
    return operator.index(axis)


def dtypes_of(dtype: Dtypes) -> tuple[tuple[str, str], ...]:
    """The dtypes that are said, by patterns. Raises UsageError for what is no dtype, or no pattern."""
    if not dtype:
        return ()
    from renorm_cli.plan.dtypes import parse_dtype

    if isinstance(dtype, Mapping):
        dtype = [f"{pattern}={name}" for pattern, name in dtype.items()]
    return tuple(parse_dtype(one) for one in _patterns("dtype", dtype))


def computing_of(
    engine: Engine = "auto", device: Device = "auto", jobs: int | None = None, workers: Workers | None = None
) -> Computing:
    """What computes. Raises UsageError for no thread."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"the jobs are threads, at least 1, got {jobs!r}")
    return Computing(engine, device, jobs, workers)
