"""The verbs for checkpoint files, from keyword arguments to a report. Nothing here parses options or prints.

The keywords are the options of the command line:

- `max_norm` is the bound on the norm of every unit: its `p`-norm, or with `norm` "spectral" the largest singular value
  of every matrix, and with `conv` "operator" of a convolution an upper bound of its operator norm. `per` says what one
  p-norm runs over: a "unit", a "tensor", or all selected tensors together ("global"). `rules` is a TOML file of bounds
  by name. `declared` takes the bounds from the constraints in the file's own config.
- `role` are the kinds of variables that are taken, "kernel" and "embedding" where none is said; `include` and `exclude`
  are shell-style patterns over their names. `units` are the axes that name units, () those that the file tells: an axis
  or several; as a text "GLOB=AXES", several of them, or a mapping, they are those of what a pattern names.
- `like` is another checkpoint of the same model, which lends names and axes. `dtype` says what was saved without its
  dtype, as NumPy saves bfloat16: "GLOB=DTYPE", several of them, or a mapping. `allow_guess` and `allow_unidentified`
  accept unit axes that are a guess, and matrices that nothing identifies.
- `keep_norms` keeps the norms of all units in the report, for its `unit_norms`: 8 bytes a unit. `sha256` reads a small
  checkpoint whole, for its `provenance`.
- `engine` ("auto", "numpy", "tensorflow"), `device` ("auto", "cpu", "gpu") and `jobs`, a number of threads, say how it
  is computed. `meter` is told of each pass over the checkpoint and of its progress. `workers` do the parts of a
  checkpoint, where the command line gives it to a cluster.

All verbs raise RenormError, which says in one line what was expected, what was found, where, and what to do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from renorm_cli.api.asked import (
    allowed_of,
    axes_of,
    computing_of,
    constraint_of,
    dtypes_of,
    request_of,
    selection_of,
)
from renorm_cli.api.keywords import (
    Companions,
    Convolution,
    Device,
    Dtypes,
    Engine,
    NonFinite,
    NormKind,
    PathLike,
    Patterns,
    PerEach,
    Roles,
    Units,
    checked,
)
from renorm_cli.api.measuring import (
    measured,
    say_dtypes,
)
from renorm_cli.api.report import Report
from renorm_cli.errors import UsageError, Way
from renorm_cli.formats.base import Checkpoint, Found
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.model.constraint import Per, Selection
from renorm_cli.model.identity import Role
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request
from renorm_cli.plan.selection import as_literal
from renorm_cli.run.session import Destination
from renorm_cli.run.steps import SILENT, Meter

# Rooms that one verb or one keyword alone needs are imported there: the others start sooner.
if TYPE_CHECKING:
    from renorm_cli.api.difference import DiffReport
    from renorm_cli.api.suggestion import Suggestion
    from renorm_cli.gate.stored_report import Stored
    from renorm_cli.plan.rules import Rules
    from renorm_cli.run.shares import Workers

_GIVE_ONE = Way("max_norm", "give one")
_DECLARED = Way("declared", "take those that the file declares", True)


@checked
def open(checkpoint: PathLike, *, dtype: Dtypes = ()) -> Checkpoint:
    """Open a checkpoint of any known format: its variables, and their values block by block; close it after use."""
    dtypes, source = dtypes_of(dtype), open_checkpoint(Path(checkpoint))
    try:
        say_dtypes(dtypes, source)
    except BaseException:
        source.close()
        raise
    return source


@checked
def inspect(
    checkpoint: PathLike | Found,
    *,
    max_norm: float | None = None,
    norm: NormKind = "p",
    conv: Convolution = "matrix",
    spectral: bool = False,
    spectrum: bool = False,
    p: float = 2.0,
    per: Per = "unit",
    rules: PathLike | Rules | None = None,
    role: Roles | None = None,
    include: Patterns = (),
    exclude: Patterns = (),
    units: Units = (),
    like: PathLike | None = None,
    dtype: Dtypes = (),
    keep_norms: bool = True,
    sha256: bool = True,
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: int | None = None,
    meter: Meter = SILENT,
    workers: Workers | None = None,
) -> Report:
    """Report the norms; with a bound, also how many units are over it.

    `spectral` is short for the norm "spectral"; `spectrum` is that with figures of all singular values.
    """
    by = "spectrum" if spectrum else "spectral" if spectral else "norm"
    request = request_of(
        constraint_of(max_norm, norm if by == "norm" else "spectral", p, per, by, conv, ruled=rules is not None),
        selection_of(role, include, exclude),
        units,
        rules=rules,
        conv=conv,
        must_act=False,
        measures=True,
    )
    computing = computing_of(engine, device, jobs, workers)
    asked = request, like, computing, keep_norms, meter
    return measured("inspect", _place(checkpoint), *asked, spectrum=spectrum, sha256=sha256, dtypes=dtypes_of(dtype))


@checked
def show(
    checkpoint: PathLike,
    name: str,
    *,
    max_norm: float | None = None,
    norm: NormKind = "p",
    conv: Convolution = "matrix",
    p: float = 2.0,
    per: PerEach = "unit",
    units: Units = (),
    like: PathLike | None = None,
    dtype: Dtypes = (),
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: int | None = None,
    meter: Meter = SILENT,
) -> Report:
    """Report the norms of one variable, by its name or its key and whatever its role: `show(...).unit_norms(name)`.

    Raises SelectionError where there is no such variable, and where several have that name.
    """
    selection = Selection((as_literal(name),), roles=frozenset(get_args(Role)), called="the name")
    request = Request(
        OneBound(constraint_of(max_norm, norm, p, per, conv=conv), axes_of(units)), selection, must_act=False
    )
    computing, dtypes = computing_of(engine, device, jobs), dtypes_of(dtype)
    report = measured("inspect", Path(checkpoint), request, like, computing, True, meter, dtypes=dtypes)
    report.row(name)
    return report


@checked
def check(
    checkpoint: PathLike | Found,
    *,
    max_norm: float | None = None,
    norm: NormKind = "p",
    conv: Convolution = "matrix",
    p: float = 2.0,
    per: Per = "unit",
    rules: PathLike | Rules | None = None,
    declared: bool = False,
    role: Roles | None = None,
    include: Patterns = (),
    exclude: Patterns = (),
    units: Units = (),
    like: PathLike | None = None,
    dtype: Dtypes = (),
    allow_guess: bool = False,
    allow_unidentified: bool = False,
    baseline: PathLike | Stored | None = None,
    max_growth: float | str | None = None,
    allow_new: bool = False,
    allow_gone: bool = False,
    keep_norms: bool = True,
    sha256: bool = True,
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: int | None = None,
    meter: Meter = SILENT,
    workers: Workers | None = None,
) -> Report:
    """Tell whether the bound holds: `check(...).holds`, or `check(...).verdict`.

    It is "undecided" where a matrix was not seen, and where it depends on a guess of unit axes whether the bound holds;
    the notes of the report have the ways out.

    With `baseline`, a JSON report, it does not hold either where the largest norm of a variable grew by more than
    `max_growth` (5% or 0.05) since, or where a variable is new or gone and that is not allowed.
    """
    if baseline is None and (max_growth is not None or allow_new or allow_gone):
        raise UsageError("growth, and what is new or gone, is told from an earlier report", Way("baseline", "give one"))
    if not (declared or baseline is not None):
        _need_bound(max_norm, rules, _DECLARED, Way("baseline", "compare with an earlier report"))
    request = request_of(
        constraint_of(max_norm, norm, p, per, conv=conv, ruled=rules is not None),
        selection_of(role, include, exclude),
        units,
        rules=rules,
        conv=conv,
        declared="check" if declared else None,
        measures=baseline is not None,
    )
    reference = None
    if baseline is not None:
        from renorm_cli.gate.baseline import Reference, growth_of
        from renorm_cli.gate.stored_report import read_stored

        stored = read_stored(Path(baseline)) if isinstance(baseline, str | os.PathLike) else baseline
        reference = Reference(stored, growth_of(max_growth), allow_new, allow_gone)
    computing, allowed = computing_of(engine, device, jobs, workers), allowed_of(allow_guess, allow_unidentified)
    asked = request, like, computing, keep_norms, meter, reference, allowed
    return measured("check", _place(checkpoint), *asked, sha256=sha256, dtypes=dtypes_of(dtype))


@checked
def apply(
    checkpoint: PathLike | Found,
    output: PathLike | None = None,
    *,
    max_norm: float | None = None,
    norm: NormKind = "p",
    conv: Convolution = "matrix",
    p: float = 2.0,
    per: Per = "unit",
    rules: PathLike | Rules | None = None,
    declared: bool = False,
    role: Roles | None = None,
    include: Patterns = (),
    exclude: Patterns = (),
    units: Units = (),
    like: PathLike | None = None,
    dtype: Dtypes = (),
    allow_guess: bool = False,
    allow_unidentified: bool = False,
    in_place: bool = False,
    force: bool = False,
    dry_run: bool = False,
    nonfinite: NonFinite = "refuse",
    verify: bool = True,
    keep_norms: bool = True,
    sha256: bool = True,
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: int | None = None,
    meter: Meter = SILENT,
    workers: Workers | None = None,
    companions: Companions = lambda report: {},
) -> Report:
    """Write a renormalized checkpoint: no unit's norm exceeds the bound, all else keeps its bytes.

    It is written to `output`, over the input (`in_place`), or beside it under a default name; of an input in the cache
    of Hugging Face, in the current folder. An existing one is replaced with `force` only. On NaN or Inf nothing is
    written, or (`nonfinite` "skip") those units are left alone. With `verify` the output is read again before it gets
    its name. `companions` makes files of the report, which get their names together with the output: all of them or
    none. A `dry_run` writes these alone. Given what was found at a path, the file that is open already is not opened
    again.

    Raises SelectionError where unit axes are a guess, unless the bound holds already whatever they are.
    """
    from renorm_cli.api.applying import Application

    if not declared:
        _need_bound(max_norm, rules, _DECLARED)
    request = request_of(
        constraint_of(max_norm, norm, p, per, conv=conv, ruled=rules is not None),
        selection_of(role, include, exclude),
        units,
        rules=rules,
        conv=conv,
        declared="apply" if declared else None,
        changes=True,
    )
    asked = Application(
        request,
        computing_of(engine, device, jobs, workers),
        Destination(None if output is None else Path(output), in_place),
        dtypes_of(dtype),
        allowed_of(allow_guess, allow_unidentified),
        rules=rules,
        like=like,
        force=force,
        dry_run=dry_run,
        nonfinite=nonfinite,
        verify=verify,
        keep_norms=keep_norms,
        sha256=sha256,
        meter=meter,
        companions=companions,
    )
    return asked.to(checkpoint)


@checked
def diff(
    before: PathLike,
    after: PathLike,
    *,
    expect_renorm: bool = False,
    weights_only: bool = False,
    max_norm: float | None = None,
    norm: NormKind = "p",
    conv: Convolution = "matrix",
    p: float = 2.0,
    per: PerEach = "unit",
    role: Roles | None = None,
    include: Patterns = (),
    exclude: Patterns = (),
    units: Units = (),
    like: PathLike | None = None,
    dtype: Dtypes = (),
    jobs: int | None = None,
    meter: Meter = SILENT,
) -> DiffReport:
    """Tell what changed between two checkpoints.

    With `expect_renorm`, also whether `after` is `before` renormed within `max_norm`, and nothing else. `weights_only`
    leaves out what an optimizer keeps, counters and metrics.
    """
    from renorm_cli.api.comparing import compared

    if expect_renorm and max_norm is None:
        raise UsageError("a bound is needed", _GIVE_ONE)
    if expect_renorm and weights_only:
        raise UsageError(
            "a renorm, and nothing else, is proven of all that is stored",
            Way("weights_only", "leave out {}"),
            Way("expect_renorm", "leave out {}"),
        )
    bound = OneBound(constraint_of(max_norm, norm, p, per, conv=conv), axes_of(units))
    selection = selection_of(role, include, exclude)
    return compared(
        before,
        after,
        bound,
        selection,
        like=like,
        dtypes=dtypes_of(dtype),
        expected=expect_renorm,
        weights_only=weights_only,
        jobs=computing_of(jobs=jobs).jobs,
        meter=meter,
    )


@checked
def suggest(
    checkpoint: PathLike,
    *,
    clip: float | str | None = None,
    one_bound: bool = False,
    norm: NormKind = "p",
    p: float = 2.0,
    per: PerEach = "unit",
    role: Roles | None = None,
    include: Patterns = (),
    exclude: Patterns = (),
    units: Units = (),
    like: PathLike | None = None,
    dtype: Dtypes = (),
    output: PathLike | None = None,
    force: bool = False,
    engine: Engine = "auto",
    device: Device = "auto",
    jobs: int | None = None,
    meter: Meter = SILENT,
) -> Suggestion:
    """Find bounds that clip a share of the units (`clip`, 5% or 0.05): for all together and for each variable.

    With `output` they are written as rules, a bound for each variable or with `one_bound` one for all; an existing file
    is replaced with `force` only.
    """
    from renorm_cli.api.suggesting import suggested
    from renorm_cli.suggestion import aim_of

    aim = aim_of(clip, one_bound=one_bound)
    request = Request(OneBound(constraint_of(None, norm, p, per), axes_of(units)), selection_of(role, include, exclude))
    computing, rules = computing_of(engine, device, jobs), None if output is None else Path(output)
    return suggested(
        checkpoint,
        aim,
        request,
        computing,
        like=like,
        dtypes=dtypes_of(dtype),
        rules=rules,
        force=force,
        meter=meter,
    )


def _place(checkpoint: PathLike | Found) -> Path | Found:
    return checkpoint if isinstance(checkpoint, Found) else Path(checkpoint)


def _need_bound(max_norm: float | None, rules: PathLike | Rules | None, *others: Way) -> None:
    if max_norm is None and rules is None:
        text = "a bound is needed, and `suggest` tells which fit"
        raise UsageError(text, _GIVE_ONE, Way("rules", "give them by name"), *others)


for _verb in (apply, check, diff, inspect, open, show, suggest):
    _verb.__module__ = "renorm_cli"  # as users call them
