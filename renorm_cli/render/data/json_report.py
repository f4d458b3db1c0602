"""Reports as strict JSON, schema_version 1: the full record, of which all other formats show a part."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from renorm_cli.model.coverage import coverage
from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.model.norm import PNorm, SpectralNorm
from renorm_cli.model.plan import Note, Skip
from renorm_cli.model.report import Baseline, Joint, NormStats, Provenance, Report, Row
from renorm_cli.model.spectral import Span, Spectral, Spectrum
from renorm_cli.model.variable import Declared, Variable
from renorm_cli.render.columns import BEYOND

SCHEMA_VERSION = 1


def render_json(found: Sequence[Outcome]) -> Iterator[str]:
    """Write one report, or the failure in its place, as a JSON object, several or none as an array, with a newline at
    the end.

    Strict JSON in ASCII, without NaN and Infinity. Each variable has a line of its own, so that line tools and diffs
    work. Comes in parts of about one variable each, because the whole text would take as much memory as the report.
    """
    start, end = ("", "\n") if len(found) == 1 else ("[", "]\n")
    yield start
    for number, one in enumerate(found):
        yield ",\n" if number else ""
        yield from _pieces(failure_dict(one) if isinstance(one, Failure) else _fields(one))
    yield end


def render_jsonl(found: Iterable[Outcome]) -> Iterator[str]:
    """Write each report, and each failure, as a JSON object on a line of its own, for tools that read JSON Lines."""
    for one in found:
        yield line(one) + "\n"


def line(outcome: Outcome) -> str:
    """The JSON object on one line, without its end."""
    record = failure_dict(outcome) if isinstance(outcome, Failure) else report_dict(outcome)
    return json.dumps(record, separators=(",", ":"), allow_nan=False).replace("##", "#\\u0023")


def failure_dict(failure: Failure) -> dict[str, Any]:
    """The JSON object that takes the place of a report; see `report_dict`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": "renorm-ckpt",
        "version": failure.version,
        "command": failure.command,
        "source": valid({"path": failure.path}),
        "error": valid({"kind": failure.kind, "text": failure.text}),
    }


def report_dict(report: Report) -> dict[str, Any]:
    """The JSON object of a report, as plain dicts, lists, strings, numbers and None.

    An infinite `p` is "inf". In a string that is not valid Unicode, U+FFFD replaces each lone surrogate; the same key
    with `_base64` holds the exact bytes.
    """
    return {key: list(value) if isinstance(value, Iterator) else value for key, value in _fields(report).items()}


def _fields(report: Report) -> dict[str, Any]:
    """The object, with iterators for its records, so that not all of them are in memory at once."""
    totals = report.totals
    return valid(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": "renorm-ckpt",
            "version": report.version,
            "command": report.command,
            "source": valid({"path": report.path, "format": report.format, "bytes": report.bytes}),
            "output": report.output,
            "dry_run": report.dry_run,
            "verdict": report.verdict if report.command == "check" else None,
            "allowed": list(report.allowed),
            "engine": report.engine,
            "device": report.device,
            "totals": {
                "variables": totals.variables,
                "constrained": totals.constrained,
                "skipped": totals.skipped,
                "units": totals.units,
                "over": totals.over,
                "nonfinite": totals.nonfinite,
                "under": totals.under,
                "negative": totals.negative,
                "matrices": totals.matrices,
                "identified": totals.identified,
                "measured": totals.measured,
                "elements": totals.elements,
                "share": totals.share,
                "copies": totals.copies,
            },
            "joint": None if report.joint is None else _joint(report.joint),
            "variables": (valid(_row(row)) for row in report.rows),
            "skipped": (valid(_skip(skip)) for skip in report.skips),
            "baseline": None if report.baseline is None else _baseline(report.baseline),
            "notes": [
                valid({"text": str(note), "warning": note.warning, "doubt": note.doubt}) for note in report.notes
            ],
            "seconds": _number(report.seconds),
            "provenance": None if report.provenance is None else _provenance(report.provenance),
        }
    )


def _joint(found: Joint) -> dict[str, Any]:
    return {
        "variables": found.variables,
        "norm": _number(found.norm),
        "norm_after": None if found.norm_after is None else _number(found.norm_after),
        "limit": found.limit,
        "over": found.over,
    }


def _row(row: Row) -> dict[str, Any]:
    step, variable, constraint = row.step, row.step.variable, row.step.constraint
    return {
        "name": variable.name,
        "key": variable.key,
        "copies": [one.key for one in step.copies],
        "aliases": list(variable.aliases),
        "layer": variable.layer,
        "status": row.status,
        "role": step.role,
        "shape": list(variable.shape),
        "dtype": variable.stored_dtype,
        "unit_axes": list(step.unit_axes),
        "axis_source": step.axis_source,
        "conflict": _conflict(variable),
        "readings": row.readings,
        "coverage": coverage(step),
        "limit": constraint.limit,
        "low": constraint.low,
        "tolerance": constraint.norm.tolerance if isinstance(constraint.norm, SpectralNorm) else constraint.tolerance,
        "norm_kind": constraint.norm.kind,
        "p": constraint.norm.record,
        "per": constraint.per,
        "units": row.units,
        "over": row.over,
        "nonfinite": row.nonfinite,
        "under": row.under,
        "negative": row.negative,
        "excess": None if row.excess is None else _number(row.excess),
        "norm": _norm(row.norm),
        "norm_after": _norm(row.norm_after),
        "histogram": list(row.histogram),
        "histogram_range": _histogram_range(row),
        "worst": [{"index": list(unit.index), "norm": _number(unit.norm)} for unit in row.worst],
        "declared": _declared(variable.declared),
        "spectral": None if row.spectral is None else _spectral(row.spectral),
    }


def _spectral(found: Spectral) -> dict[str, Any]:
    rank = found.stable_rank
    return {
        "matrix": [found.rows, found.columns],
        "matrices": found.matrices,
        "norm": found.norm,
        "lower": found.lower,
        "upper": _number(found.upper),
        "frobenius": _number(found.frobenius),
        "stable_rank": None if rank is None else _number(rank),
        "rms_norm": _number(found.rms_norm),
        "operator": None if found.operator is None else _span(found.operator),
        **_spectrum(found.spectrum),
    }


def _span(found: Span) -> dict[str, float | None]:
    return {"lower": found.lower, "upper": _number(found.upper)}


def _spectrum(found: Spectrum | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(("effective_rank", "condition", "alpha", "histogram"))
    return {
        "effective_rank": found.effective_rank,
        "condition": found.condition or BEYOND,
        "alpha": None if found.power_law is None else found.power_law._asdict(),
        "histogram": {"low": found.low, "high": found.high, "counts": list(found.counts)},
    }


def _provenance(made: Provenance) -> dict[str, Any]:
    return valid(
        {
            "started": made.started,
            "command": made.command,
            "sha256": made.sha256,
            "versions": dict(made.versions),
        }
    )


def _baseline(baseline: Baseline) -> dict[str, Any]:
    return valid(
        {
            "path": baseline.path,
            "max_growth": baseline.max_growth,
            "growths": [
                valid({"name": one.name, "kind": one.kind, "before": one.before, "after": one.after})
                for one in baseline.growths
            ],
        }
    )


def _skip(skip: Skip) -> dict[str, Any]:
    variable = skip.variable
    return {
        "name": variable.name,
        "key": variable.key,
        "copies": [one.key for one in skip.copies],
        "layer": variable.layer,
        "shape": list(variable.shape),
        "dtype": variable.stored_dtype,
        "role": skip.role,
        "code": skip.code,
        "reason": skip.reason,
        "coverage": coverage(skip),
        "declared": _declared(variable.declared),
    }


def note_dict(note: Note) -> dict[str, Any]:
    """The JSON object of a note; see `report_dict`."""
    return valid({"text": str(note), "warning": note.warning, "doubt": note.doubt})


def _conflict(variable: Variable) -> str | None:
    return None if variable.identity is None else variable.identity.conflict


def _declared(declared: Declared | None) -> dict[str, Any] | None:
    if declared is None:
        return None
    return valid(
        {
            "kind": declared.kind,
            "class": declared.name,
            "limit": declared.limit,
            "low": declared.low,
            "rate": declared.rate,
            "axis": None if declared.axis is None else list(declared.axis),
            "units": list(declared.units) if isinstance(declared.units, tuple) else declared.units,
            "p": PNorm(declared.p).record,
            "problem": declared.problem,
        }
    )


def _histogram_range(row: Row) -> list[float | None]:
    return [] if row.norm is None or not row.histogram else [_number(row.norm.min), _number(row.norm.max)]


def _norm(stats: NormStats | None) -> dict[str, float | None] | None:
    if stats is None:
        return None
    return {
        "min": _number(stats.min),
        "median": _number(stats.median),
        "mean": _number(stats.mean),
        "p95": _number(stats.p95),
        "max": _number(stats.max),
    }


def _number(number: float) -> float | None:
    return number if math.isfinite(number) else None  # a mean of finite float64 norms can overflow


def valid(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with valid Unicode in its own strings (not in nested records); see `report_dict`."""
    made: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, str) and not _is_unicode(value):
            made[key], made[f"{key}_base64"] = _replaced(value), _base64(value)
        elif isinstance(value, list) and not all(_is_unicode(item) for item in value if isinstance(item, str)):
            made[key], made[f"{key}_base64"] = [_replaced(item) for item in value], [_base64(item) for item in value]
        else:
            made[key] = value
    return made


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _replaced(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


def _base64(text: str) -> str:
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte, such as from a JSON escape
        raw = text.encode("utf-8", "surrogatepass")
    return base64.b64encode(raw).decode("ascii")


def dump(record: Mapping[str, Any]) -> str:
    """Write a record as JSON, with each field, and each record in a field, on a line of its own."""
    return "".join(_pieces(record))


def _pieces(record: Mapping[str, Any]) -> Iterator[str]:
    before = "{\n "
    for key, value in record.items():
        yield f"{before}{_compact(key)}: "
        yield from _lines(value)
        before = ",\n "
    yield "\n}"


def _lines(value: Any) -> Iterator[str]:
    records = value if isinstance(value, Iterator) else iter(value) if isinstance(value, list) else iter(())
    first = next(records, None)
    if not isinstance(first, dict):
        yield _compact([] if isinstance(value, Iterator) else value)
        return
    yield f"[\n  {_compact(first)}"
    for one in records:
        yield f",\n  {_compact(one)}"
    yield "\n ]"


def _compact(value: Any) -> str:
    # CI runners read `##[error]` as a command anywhere in a line; JSON has "##" only in strings.
    return json.dumps(value, allow_nan=False).replace("##", "#\\u0023")
