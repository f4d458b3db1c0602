"""Comparisons as strict JSON, schema_version 1, and as CSV: the full records, of which the table shows a part."""

from __future__ import annotations

from typing import Any

from renorm_cli.model.difference import DiffReport, DiffRow, DiffSide
from renorm_cli.model.variable import Variable
from renorm_cli.render.data.csv_report import csv_text
from renorm_cli.render.data.json_report import SCHEMA_VERSION, dump, note_dict, valid
from renorm_cli.render.diff_columns import DIFF_COLUMNS


def render_diff_json(report: DiffReport) -> str:
    """Write a comparison as a JSON object, as `json_report.render_json` writes a report."""
    return dump(diff_dict(report)) + "\n"


def diff_dict(report: DiffReport) -> dict[str, Any]:
    """The JSON object of a comparison, as plain dicts, lists, strings, numbers and None.

    An infinite `p` is "inf". Strings that are not valid Unicode are encoded as in `json_report.report_dict`.
    """
    constraint = report.constraint
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": "renorm-ckpt",
        "version": report.version,
        "command": "diff",
        "before": _side(report.before),
        "after": _side(report.after),
        "matched_by": report.matched_by,
        "limit": constraint.limit,
        "norm_kind": constraint.norm.kind,
        "p": constraint.norm.record,
        "per": constraint.per,
        "same": report.same,
        "renorm_only": report.renorm_only,
        "expect_renorm": report.expected,
        "proven": report.proven,
        "context": None if report.context is None else [valid(row._asdict()) for row in report.context],
        "totals": {
            "variables": len(report.rows),
            **{verdict.replace(" ", "_"): count for verdict, count in report.totals.items()},
        },
        "variables": [_row(row) for row in report.rows],
        "notes": [note_dict(note) for note in report.notes],
        "seconds": report.seconds,
    }


def _side(side: DiffSide) -> dict[str, Any]:
    return valid({"path": side.path, "format": side.format, "bytes": side.bytes})


def _row(row: DiffRow) -> dict[str, Any]:
    return valid(
        {
            "name": row.name,
            "verdict": row.verdict,
            "reason": row.reason,
            "before": _variable(row.before),
            "after": _variable(row.after),
            "copies": list(row.copies),
            "unit_axes": None if row.step is None else list(row.step.unit_axes),
            "axis_source": None if row.step is None else row.step.axis_source,
            "changed": row.changed,
            "largest_change": row.largest_change,
            "norm_before": row.norm_before,
            "norm_after": row.norm_after,
            "units": row.units,
            "changed_units": row.changed_units,
            "foreign_units": row.foreign_units,
            "unit_norm_before": row.unit_norm_before,
            "unit_norm_after": row.unit_norm_after,
            "over": row.over,
            "nonfinite": row.nonfinite,
        }
    )


def _variable(variable: Variable | None) -> dict[str, Any] | None:
    if variable is None:
        return None
    return valid(
        {"name": variable.name, "key": variable.key, "shape": list(variable.shape), "dtype": variable.stored_dtype}
    )


def render_diff_csv(report: DiffReport) -> str:
    """Write a header and a line for every variable, escaped as `csv_report.render_csv` does; lines end with LF."""
    columns = [(column.key, column.value) for column in DIFF_COLUMNS if column.value is not None]
    lines = ([report.before.path, report.after.path, *(value(row) for _, value in columns)] for row in report.rows)
    return csv_text([["path_before", "path_after", *(key for key, _ in columns)], *lines])
