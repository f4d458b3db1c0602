"""Suggestions as strict JSON, schema_version 1, and as CSV: every bound, with the units that it would clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from renorm_cli.model.failure import Failure
from renorm_cli.model.report import Row
from renorm_cli.model.suggestion import SuggestedBound, Suggestion
from renorm_cli.render.columns import Cell
from renorm_cli.render.data.csv_report import csv_text
from renorm_cli.render.data.json_report import dump, failure_dict, report_dict, valid

_ROW = (
    "name",
    "key",
    "copies",
    "layer",
    "role",
    "shape",
    "dtype",
    "unit_axes",
    "axis_source",
    "norm_kind",
    "p",
    "per",
    "units",
)
_MEASURED = (
    *("schema_version", "tool", "version", "source", "engine", "device", "totals"),
    *("skipped", "notes", "seconds", "provenance"),
)
_HEAD = ("path", "of", "name", "key", "units", "nonfinite", "share", "limit", "over", "clipped")


def render_suggest_json(found: Sequence[Suggestion | Failure]) -> str:
    """Write one suggestion, or what takes its place, as a JSON object, several or none as an array, as
    `json_report.render_json` does."""
    texts = [dump(failure_dict(one) if isinstance(one, Failure) else suggestion_dict(one)) for one in found]
    return texts[0] + "\n" if len(texts) == 1 else "[" + ",\n".join(texts) + "]\n"


def suggestion_dict(found: Suggestion) -> dict[str, Any]:
    """The JSON object of a suggestion, as plain dicts, lists, strings, numbers and None.

    `bounds` and `together` are lists of `share` (the aim), `limit` (or null), `over` and `clipped` (the number and the
    share of units that the limit would clip). The rest is as in `json_report.report_dict`.
    """
    measured = report_dict(found.measured)
    rows = zip(measured["variables"], found.bounds, strict=True)
    variables = [_some(row, (*_ROW, "nonfinite", "norm")) | {"bounds": _bounds(bounds)} for row, bounds in rows]
    return {
        **_some(measured, _MEASURED[:3]),
        "command": "suggest",
        **_some(measured, _MEASURED[3:7]),
        **valid({"rules": found.rules}),
        "together": _bounds(found.together),
        "variables": variables,
        **_some(measured, _MEASURED[7:]),
    }


def _some(record: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """These fields of a record, with the `_base64` fields that belong to them."""
    both = (name for key in keys for name in (key, f"{key}_base64"))
    return {name: record[name] for name in both if name in record}


def _bounds(bounds: Iterable[SuggestedBound]) -> list[dict[str, Any]]:
    return [{"share": one.share, "limit": one.limit, "over": one.over, "clipped": one.clipped} for one in bounds]


def render_suggest_csv(found: Sequence[Suggestion | Failure]) -> str:
    """Write a header and a line for every bound, escaped as `csv_report.render_csv` does; lines end with LF.

    `of` is "variable", "together" for a bound for all units, or "failed" where nothing could be told.
    """
    return csv_text([_HEAD, *(line for one in found for line in _lines(one))])


def _lines(found: Suggestion | Failure) -> Iterator[list[Cell]]:
    if isinstance(found, Failure):
        yield [found.path, "failed", *[None] * (len(_HEAD) - 2)]
        return
    path, totals = found.measured.path, found.measured.totals
    for bound in found.together:
        yield [path, "together", None, None, totals.units, totals.nonfinite, *_cells(bound)]
    for row, bounds in zip(found.measured.rows, found.bounds, strict=True):
        for bound in bounds:
            yield [path, "variable", *_names(row), *_cells(bound)]


def _names(row: Row) -> list[Cell]:
    return [row.step.variable.name, row.step.variable.key, row.units, row.nonfinite]


def _cells(bound: SuggestedBound) -> list[Cell]:
    return [bound.share, bound.limit, bound.over, bound.clipped]
