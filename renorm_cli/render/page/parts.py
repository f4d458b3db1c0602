"""The parts of the HTML page as plain texts and numbers, which the templates arrange."""

from __future__ import annotations

from dataclasses import dataclass

from renorm_cli.render.page.charts import Glyph, Histogram, Tick, Trials
from renorm_cli.render.page.spectra import Depth


@dataclass(frozen=True, slots=True)
class Cell:
    """A number or short text of a row; `exact` is the sort key if the text is rounded."""

    text: str
    exact: str | None
    number: bool
    bad: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A variable. `found` are its findings; a line without `cells` is a skipped variable, with its `reason`.

    `doubts` are tags of what is not known of it. For the script, `counts` are the numbers of units in equal bins
    between the two norms of `reach`, `spectrum` is what that of a matrix is drawn from, `figures` are more of its
    numbers, and `depth` is its place among those that are drawn by depth.
    """

    name: str
    key: str
    facts: str
    shape: str
    found: str
    role: str
    tags: tuple[str, ...]
    doubts: tuple[str, ...]
    counts: str
    reach: str
    cells: tuple[Cell, ...]
    glyph: Glyph | None
    summary: str
    worst: str
    reason: str
    spectrum: str = ""
    figures: str = ""
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The variables; `left_out` of them have no line, `drawn` have a drawing (all that can, if `all_drawn`)."""

    heads: tuple[tuple[str, bool], ...]
    lines: tuple[Line, ...]
    total: int
    drawn: int
    all_drawn: bool
    charts: bool
    ticks: tuple[Tick, ...]
    roles: tuple[str, ...]
    axis: str

    @property
    def left_out(self) -> int:
        return self.total - len(self.lines)


@dataclass(frozen=True, slots=True)
class Chart:
    """The norms of all units of a checkpoint; `of` is what they are called, in plural, and `one` with its article."""

    of: str
    one: str
    histogram: Histogram
    trials: Trials
    log: bool
    units: int
    bound: str | None
    command: str | None
    facts: str
    described: str
    quantiles: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A variable that is out of line with the baseline."""

    name: str
    what: str
    before: str
    after: str
    change: str
    exact: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Section:
    """A checkpoint; its state is "bad" if a gate would fail, "good" if it would pass, else "plain"."""

    title: str
    path: str
    state: str
    verdict: str
    figures: tuple[tuple[str, str, str], ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    more_notes: int
    findings: tuple[tuple[str, str, str], ...]
    more_findings: int
    chart: Chart | None
    depth: Depth | None
    table: Table
    skipped: tuple[tuple[str, str, str], ...]
    declared: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    baseline: str | None
    changes: tuple[Change, ...]
    more_changes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint in the contents; `section` is the number of its section, or None."""

    path: str
    state: str
    verdict: str
    section: int | None


@dataclass(frozen=True, slots=True)
class LayerClass:
    """All weights of layers of one class, or of one role where no class is known; the largest norm is in `path`."""

    name: str
    checkpoints: str
    variables: str
    units: str
    over: str
    largest: str
    path: str
    section: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page."""

    title: str
    version: str
    entries: tuple[Entry, ...]
    more_entries: int
    sections: tuple[Section, ...]
    without_section: int
    """Checkpoints in the contents that could be read and have no section."""
    layers: tuple[LayerClass, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The checkpoints that the page is about."""
        return tuple(section.path for section in self.sections)
