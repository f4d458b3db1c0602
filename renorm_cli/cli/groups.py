"""What the command line asked for, from its options to what the commands take.

Heavy modules are imported where they are used, so that help starts fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from renorm_cli.errors import UsageError

if TYPE_CHECKING:
    from renorm_cli.api import Options
    from renorm_cli.gate.baseline import Reference
    from renorm_cli.plan.rules import Rules


def need_bound(max_norm: float | None, otherwise: bool) -> None:
    """Raise UsageError where there is no bound, nor anything to do `otherwise`."""
    if max_norm is None and not otherwise:
        raise UsageError("a bound is needed: give it with --max-norm C, or --rules FILE")


def options(
    max_norm: float | None,
    p: float,
    units: str,
    per: Literal["unit", "tensor", "global"],
    include: list[str] | None,
    exclude: list[str] | None,
    strict: bool,
    engine: str,
    device: str,
    jobs: int | None,
    *,
    must_act: bool = True,
    declared: Literal["apply", "check"] | None = None,
    rules: Path | None = None,
    measures: bool = False,
) -> Options:
    """The options that all commands share. Raises UsageError for those that make no sense, or not together."""
    from renorm_cli.api import Options
    from renorm_cli.model.constraint import Constraint, Selection
    from renorm_cli.model.norm import PNorm
    from renorm_cli.plan.bounds import bound_source
    from renorm_cli.plan.planner import Request, parse_units

    selection = Selection(tuple(include or ()), tuple(exclude or ()))
    bound = Constraint(max_norm, PNorm(p), per)
    source = bound_source(bound, parse_units(units), rules=_rules(rules), declared=declared, measures=measures)
    return Options(Request(source, selection, strict, must_act), engine, device, jobs)


def _rules(path: Path | None) -> Rules | None:
    if path is None:
        return None
    from renorm_cli.plan.rules_toml import read_rules

    return read_rules(path)


def reference(path: Path | None, growth: str | None, allow_new: bool, allow_gone: bool) -> Reference | None:
    """The earlier report of `--baseline`, if there is one."""
    from renorm_cli.gate.baseline import DEFAULT_GROWTH, parse_growth, read_baseline

    if path is not None:
        most = parse_growth(growth or DEFAULT_GROWTH)
        return read_baseline(path, most, allow_new=allow_new, allow_gone=allow_gone)
    if growth is not None or allow_new or allow_gone:
        raise UsageError("--max-growth, --allow-new and --allow-gone need an earlier report: give it with --baseline")
    return None


def given(path: Path | None) -> list[Path]:
    """A list of the file that an option names, empty where it names none."""
    return [] if path is None else [path]
