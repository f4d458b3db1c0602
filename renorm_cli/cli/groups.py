"""Groups of options: a command takes one object for each heading of its help.

The fields of a group are the keywords of the verbs in `renorm_cli.api.verbs`. Groups are named tuples, as the module
`dataclasses` would make `--help` slower.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

from renorm_cli.cli import options as opt
from renorm_cli.errors import UsageError

_Group = TypeVar("_Group")


def under(heading: str) -> Callable[[type[_Group]], type[_Group]]:
    """Make a named tuple a group of options, and this its heading in help."""

    def mark(group: type[_Group]) -> type[_Group]:
        group.heading = heading  # type: ignore[attr-defined]
        return group

    return mark


@under("Which checkpoints")
class Searched(NamedTuple):
    recursive: opt.Recursive = False
    match: opt.Match = None
    skip: opt.Skip = None
    listed: opt.Listed = None
    only_list: opt.OnlyList = False


@under("Which checkpoints")
class Wholes(NamedTuple):
    whole: opt.Whole = False


@under("Many checkpoints")
class Kept(NamedTuple):
    journal: opt.JournalFile = None
    shard: opt.Shard = None
    timeout: opt.Timeout = None


@under("How it is computed")
class Clustered(NamedTuple):
    cluster: opt.Cluster = None
    cluster_insecure: opt.ClusterInsecure = False


@under("The bound")
class Bound(NamedTuple):
    max_norm: opt.Limit = None
    norm: opt.Norm = "p"
    conv: opt.Conv = "matrix"
    p: opt.P = 2.0
    per: opt.Scope = "unit"
    rules: opt.RulesFile = None


@under("What is reported")
class Matrices(NamedTuple):
    spectral: opt.Spectral = False
    spectrum: opt.Spectrum = False


@under("The bound")
class Declared(NamedTuple):
    declared: opt.Declared = False


@under("The bound")
class DiffBound(NamedTuple):
    expect_renorm: opt.ExpectRenorm = False
    max_norm: opt.Limit = None
    norm: opt.Norm = "p"
    conv: opt.Conv = "matrix"
    p: opt.P = 2.0
    per: opt.DiffScope = "unit"


@under("The bound")
class SoughtBound(NamedTuple):
    clip: opt.Clip = None
    one_bound: opt.OneBound = False
    norm: opt.Norm = "p"
    p: opt.P = 2.0
    per: opt.DiffScope = "unit"


@under("Which variables and units")
class Which(NamedTuple):
    role: opt.Role = None
    include: opt.Include = None
    exclude: opt.Exclude = None
    units: opt.Units = None
    like: opt.Like = None
    dtype: opt.Dtype = None


@under("The bound")
class ShownBound(NamedTuple):
    max_norm: opt.Limit = None
    norm: opt.Norm = "p"
    conv: opt.Conv = "matrix"
    p: opt.P = 2.0
    per: opt.DiffScope = "unit"


@under("Which units")
class ShownUnits(NamedTuple):
    units: opt.Units = None
    like: opt.Like = None
    dtype: opt.Dtype = None


@under("Which variables and units")
class Accepting(NamedTuple):
    allow_guess: opt.AllowGuess = False
    allow_unidentified: opt.AllowUnidentified = False


@under("Which variables and units")
class DiffWhich(NamedTuple):
    weights_only: opt.WeightsOnly = False
    role: opt.DiffRole = None
    include: opt.DiffInclude = None
    exclude: opt.Exclude = None
    units: opt.Units = None
    like: opt.Like = None
    dtype: opt.Dtype = None


@under("Against an earlier report")
class Earlier(NamedTuple):
    baseline: opt.BaselineFile = None
    max_growth: opt.MaxGrowth = None
    allow_new: opt.AllowNew = False
    allow_gone: opt.AllowGone = False


@under("What is written")
class Writing(NamedTuple):
    output: opt.OutputPath = None
    in_place: opt.InPlace = False
    force: opt.Force = False
    dry_run: opt.DryRun = False
    nonfinite: opt.NonFinite = "refuse"
    verify: opt.Verify = True


@under("What is written")
class RulesWriting(NamedTuple):
    output: opt.RulesPath = None
    force: opt.Force = False


@under("How it is computed")
class Computing(NamedTuple):
    engine: opt.Engine = "auto"
    device: opt.Device = "auto"
    jobs: opt.Jobs = None


@under("How it is computed")
class DiffComputing(NamedTuple):
    jobs: opt.Jobs = None


@under("What is reported")
class Reporting(NamedTuple):
    report: opt.Reports = None
    format: opt.Format = None
    color: opt.Colour = "auto"
    quiet: opt.Quiet = False


@under("What is reported")
class InspectReporting(NamedTuple):
    report: opt.Reports = None
    norms: opt.NormsFile = None
    force: opt.ForceReport = False
    format: opt.Format = None
    sort: opt.Sort = None
    top: opt.Top = None
    color: opt.Colour = "auto"
    quiet: opt.Quiet = False


@under("What is reported")
class ShowReporting(NamedTuple):
    color: opt.Colour = "auto"

    @property
    def quiet(self) -> bool:
        """It always prints."""
        return False

    @property
    def format(self) -> None:
        """There is one."""
        return None


@under("What is reported")
class GateReporting(NamedTuple):
    report: opt.Reports = None
    force: opt.ForceReport = False
    format: opt.CheckFormat = None
    color: opt.Colour = "auto"
    quiet: opt.Quiet = False


@under("What is reported")
class DiffReporting(NamedTuple):
    report: opt.DiffReports = None
    force: opt.ForceReport = False
    format: opt.DiffFormats = "table"
    color: opt.Colour = "auto"
    quiet: opt.Quiet = False


@under("What is reported")
class SuggestReporting(NamedTuple):
    report: opt.SuggestReports = None
    format: opt.SuggestFormats = "table"
    color: opt.Colour = "auto"
    quiet: opt.Quiet = False


def keywords(*groups: Any) -> dict[str, Any]:
    """The options of the groups as keywords of a verb; those that were not given are left to it.

    Files that several checkpoints share are read here, once.
    """
    given = {name: value for group in groups for name, value in group._asdict().items() if value is not None}
    if "rules" in given:
        from renorm_cli.plan.rules_toml import read_rules

        given["rules"] = read_rules(given["rules"])
    if "baseline" in given:
        from renorm_cli.gate.stored_report import read_stored

        given["baseline"] = read_stored(given["baseline"])
    return given


def is_one(paths: Sequence[Path], searched: Searched, kept: Kept | None = None) -> bool:
    """Whether all that is asked for is one checkpoint by its path. Raises UsageError where it is none."""
    if not paths and searched.listed is None:
        raise UsageError("no CHECKPOINT is given; name one, or a list of them with --from")
    return len(paths) == 1 and searched == Searched() and kept in (None, Kept())


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: each parameter that is a group is replaced by the options of the group."""
    declared = inspect.signature(command, eval_str=True)
    flat: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in declared.parameters.values():
        group = parameter.annotation
        if hasattr(group, "heading"):
            groups[parameter.name] = group
            flat += _options(group)
        else:
            optional = type(None) in get_args(get_args(parameter.annotation)[0])
            default = None if optional else parameter.default
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=default))

    @functools.wraps(command)
    def call(**given: Any) -> None:
        taken = {name: group(*map(given.pop, group._fields)) for name, group in groups.items()}
        command(**given, **taken)

    call.__signature__ = declared.replace(parameters=flat)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in flat}
    return call


def _options(group: Any) -> list[inspect.Parameter]:
    """A parameter for each field of a group, its option under the group's heading."""
    hints = get_type_hints(group, include_extras=True)
    found = []
    for name in group._fields:
        kind, option = get_args(hints[name])
        option = copy(option)
        option.rich_help_panel = group.heading
        default = group._field_defaults[name]
        annotation = Annotated[kind, option]  # type: ignore[valid-type]
        found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return found
