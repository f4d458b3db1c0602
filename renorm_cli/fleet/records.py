"""Outcomes as lines of JSON, and read again: a line is the JSON report of one checkpoint, or what takes its place.

Lines come from files, and from processes that hostile checkpoints were open in: they are read strictly.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from renorm_cli.errors import UsageError
from renorm_cli.model.constraint import Constraint, Per
from renorm_cli.model.failure import Failure, FailureKind, Outcome
from renorm_cli.model.identity import AxisSource, Identity, Role
from renorm_cli.model.norm import SPECTRAL, Norm, PNorm
from renorm_cli.model.plan import Note, Skip, SkipCode, Step
from renorm_cli.model.report import Allowed, Baseline, Growth, NormStats, Provenance, Readings, Report, Row, UnitNorm
from renorm_cli.model.spectral import PowerLaw, Span, Spectral, Spectrum
from renorm_cli.model.variable import ConstraintKind, Declared, Hint, Variable
from renorm_cli.render.columns import BEYOND
from renorm_cli.untrusted import (
    JsonError,
    Reader,
    UnexpectedError,
    field,
    finite,
    integers,
    items,
    number,
    optional,
    parse_json,
    table,
    text,
)

_DEPTH = 12


def record_of(line: bytes) -> dict[str, Any]:
    """The object of a line. Raises UnexpectedError for anything else."""
    try:
        return table(parse_json(line, depth=_DEPTH, strict=True))
    except JsonError as problem:
        raise UnexpectedError("an object of JSON", problem) from None


def path_of(record: Mapping[str, Any]) -> str:
    """The path of the checkpoint that a record is of. Raises UnexpectedError."""
    return field(record, "source", lambda found: _exact(table(found), "path"))


def outcome_of(record: Mapping[str, Any]) -> Outcome:
    """The report, or the failure, of a record. Raises UnexpectedError where it is neither."""
    if record.get("tool") != "renorm-ckpt" or record.get("schema_version") != 1:
        raise UnexpectedError("a record of renorm-ckpt, schema_version 1", record.get("tool"))
    if "error" in record:
        kind, told = field(record, "error", lambda found: _failure(table(found)))
        command = field(record, "command", _one_of(("inspect", "check")))
        return Failure(command, field(record, "version", text), path_of(record), kind, told)
    return _report(record)


def _failure(record: dict[str, Any]) -> tuple[FailureKind, str]:
    return field(record, "kind", _one_of(get_args(FailureKind))), _exact(record, "text")


def _report(record: Mapping[str, Any]) -> Report:
    source = field(record, "source", table)
    return Report(
        command=field(record, "command", _one_of(("inspect", "check", "apply"))),
        version=_exact(record, "version"),
        path=path_of(record),
        format=_exact(source, "format"),
        bytes=field(source, "bytes", _count),
        engine=_exact(record, "engine"),
        device=_exact(record, "device"),
        rows=field(record, "variables", lambda found: items(found, _row)),
        skips=field(record, "skipped", lambda found: items(found, _skip)),
        notes=field(record, "notes", lambda found: items(found, _note)),
        output=_exact(record, "output") if record.get("output") is not None else None,
        dry_run=field(record, "dry_run", _flag),
        baseline=field(record, "baseline", optional(_baseline)),
        allowed=field(record, "allowed", lambda found: items(found, _one_of(get_args(Allowed)))),
        seconds=field(record, "seconds", finite),
        provenance=field(record, "provenance", optional(_provenance)),
    )


def _provenance(found: object) -> Provenance:
    record = table(found)
    versions = field(record, "versions", table)
    return Provenance(
        _exact(record, "started"),
        tuple((name, _exact(versions, name)) for name in versions),
        _exact(record, "sha256") if record.get("sha256") is not None else None,
        _exact(record, "command") if record.get("command") is not None else None,
    )


def _row(found: object) -> Row:
    record = table(found)
    source = field(record, "axis_source", _one_of(get_args(AxisSource)))
    role, axes = field(record, "role", _one_of(get_args(Role))), field(record, "unit_axes", integers)
    conflict = _exact(record, "conflict") if record.get("conflict") is not None else None
    identity = None if conflict is None else Identity(role, axes, source, conflict)
    variable = _variable(
        record,
        identity=identity,
        aliases=_exact_texts(record, "aliases"),
    )
    declared = variable.declared
    constraint = Constraint(
        limit=field(record, "limit", optional(_positive)),
        norm=_norm_of(record),
        per=field(record, "per", _one_of(get_args(Per))),
        low=field(record, "low", optional(finite)),
        tolerance=0.0 if record.get("norm_kind") == "spectral" else field(record, "tolerance", finite),
        nonnegative=source == "declared" and declared is not None and declared.kind == "NonNeg",
    )
    row = Row(
        Step(variable, role, axes, source, constraint, _copies(variable)),
        units=field(record, "units", _count),
        over=field(record, "over", _count),
        nonfinite=field(record, "nonfinite", _count),
        norm=field(record, "norm", optional(_stats)),
        norm_after=field(record, "norm_after", optional(_stats)),
        histogram=field(record, "histogram", lambda counts: items(counts, _count)),
        under=field(record, "under", _count),
        negative=field(record, "negative", _count),
        worst=field(record, "worst", lambda units: items(units, _unit)),
        readings=field(record, "readings", optional(_one_of(get_args(Readings)))),
        spectral=field(record, "spectral", optional(_spectral)),
    )
    _need(len(set(axes)) == len(axes) and set(axes) <= set(range(len(variable.shape))), "axes of the shape", axes)
    _need(max(row.over, row.nonfinite, row.under) <= row.units, f"counts of at most {row.units} units", record["over"])
    _need(any(row.histogram) == (row.norm is not None), "a histogram of norms, if there are any", record["histogram"])
    return row


def _need(holds: bool, expected: str, found: object) -> None:
    """Raise UnexpectedError unless numbers that are told one by one can be true together."""
    if not holds:
        raise UnexpectedError(expected, found)


def _spectral(found: object) -> Spectral:
    record = table(found)
    rows, columns = field(record, "matrix", lambda shape: _two(items(shape, _count)))
    norms = (field(record, name, optional(finite)) for name in ("lower", "norm", "upper", "frobenius"))
    lower, norm, upper, frobenius = (math.inf if value is None else value for value in norms)
    spectrum = None if record.get("effective_rank") is None else _spectrum(record)
    blocks, operator = field(record, "matrices", _count), field(record, "operator", optional(_span))
    _need(0 <= lower <= norm <= upper and frobenius >= 0, "a norm between its bounds", norm)
    _need(min(rows, columns) > 0, "a matrix", [rows, columns])
    return Spectral(rows, columns, blocks, lower, norm, upper, frobenius, spectrum, operator)


def _span(found: object) -> Span:
    record = table(found)
    upper = field(record, "upper", optional(finite))
    found = Span(field(record, "lower", finite), math.inf if upper is None else upper)
    _need(0 <= found.lower <= found.upper, "a lower bound up to the upper one", found.lower)
    return found


def _spectrum(record: Mapping[str, Any]) -> Spectrum:
    condition = None if record.get("condition") == BEYOND else field(record, "condition", finite)
    bins = field(record, "histogram", table)
    low, high = field(bins, "low", finite), field(bins, "high", finite)
    fit = field(record, "alpha", optional(_power_law))
    counts = field(bins, "counts", lambda found: items(found, _count))
    _need(low <= high and any(counts), "a histogram from its low to its high", low)
    return Spectrum(field(record, "effective_rank", finite), condition, fit, low, high, counts)


def _power_law(found: object) -> PowerLaw:
    record = table(found)
    return PowerLaw(*(field(record, name, _positive if name == "xmin" else finite) for name in PowerLaw._fields))


def _two(found: tuple[int, ...]) -> tuple[int, int]:
    if len(found) != 2:
        raise UnexpectedError("two lengths", list(found))
    return found[0], found[1]


def _skip(found: object) -> Skip:
    record = table(found)
    role, code = field(record, "role", _one_of(get_args(Role))), field(record, "code", _one_of(get_args(SkipCode)))
    variable = _variable(record)
    return Skip(variable, role, code, _exact(record, "reason"), _copies(variable))


def _copies(variable: Variable) -> tuple[Variable, ...]:
    return tuple(replace(variable, key=key) for key in variable.copies)


def _variable(record: Mapping[str, Any], **known: Any) -> Variable:
    return Variable(
        _exact(record, "name"),
        _exact(record, "key"),
        tuple(field(record, "shape", lambda found: items(found, _count))),
        _exact(record, "dtype"),
        Hint(layer=_exact(record, "layer") if record.get("layer") is not None else None),
        declared=field(record, "declared", optional(_declared)),
        copies=_exact_texts(record, "copies"),
        **known,
    )


def _declared(found: object) -> Declared:
    record = table(found)
    return Declared(
        field(record, "kind", _one_of(get_args(ConstraintKind))),
        _exact(record, "class"),
        field(record, "limit", optional(number)),
        field(record, "low", optional(number)),
        field(record, "rate", number),
        field(record, "axis", optional(integers)),
        _exact(record, "problem") if record.get("problem") is not None else None,
        "auto" if record.get("units") == "auto" else field(record, "units", optional(integers)),
        field(record, "p", _p_norm).p,
    )


def _baseline(found: object) -> Baseline:
    record = table(found)
    growths = field(record, "growths", lambda found: items(found, _growth))
    return Baseline(_exact(record, "path"), field(record, "max_growth", number), growths)


def _growth(found: object) -> Growth:
    record = table(found)
    kind: Literal["grew", "appeared", "vanished"] = field(record, "kind", _one_of(("grew", "appeared", "vanished")))
    before, after = field(record, "before", optional(finite)), field(record, "after", optional(finite))
    return Growth(_exact(record, "name"), kind, before, after)


def _note(found: object) -> Note:
    record = table(found)
    return Note(_exact(record, "text"), field(record, "warning", _flag), (), field(record, "doubt", _flag))


def _unit(found: object) -> UnitNorm:
    record = table(found)
    norm = field(record, "norm", optional(finite))
    return UnitNorm(field(record, "index", integers), math.nan if norm is None else norm)


def _stats(found: object) -> NormStats:
    record = table(found)
    numbers = (field(record, name, optional(finite)) for name in NormStats._fields)
    stats = NormStats(*(math.inf if value is None else value for value in numbers))
    _need(min(stats) == stats.min >= 0 and max(stats) == stats.max, "norms from min to max", stats.max)
    return stats


def _norm_of(record: Mapping[str, Any]) -> Norm:
    if field(record, "norm_kind", _one_of(("p", "spectral"))) == "spectral":
        return SPECTRAL
    return field(record, "p", _p_norm)


def _p_norm(found: object) -> PNorm:
    try:
        return PNorm(math.inf if found == "inf" else finite(found))
    except UsageError:
        raise UnexpectedError("the p of a norm", found) from None


def _one_of(values: tuple[Any, ...]) -> Reader[Any]:
    def read(found: object) -> Any:
        if not isinstance(found, str) or found not in values:
            raise UnexpectedError(f"one of {', '.join(values)}", found)
        return found

    return read


def _flag(found: object) -> bool:
    if not isinstance(found, bool):
        raise UnexpectedError("true or false", found)
    return found


def _count(found: object) -> int:
    if type(found) is not int or found < 0:
        raise UnexpectedError("a count", found)
    return found


def _positive(found: object) -> float:
    value = finite(found)
    if value <= 0:
        raise UnexpectedError("a number above 0", found)
    return value


def _exact(record: Mapping[str, Any], name: str) -> str:
    """A text, from its exact bytes where they are there."""
    told = field(record, name, text)
    return field(record, f"{name}_base64", _bytes) if f"{name}_base64" in record else told


def _exact_texts(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    key = f"{name}_base64"
    read, name = (_bytes, key) if key in record else (text, name)
    return field(record, name, lambda found: items(found, read))


def _bytes(found: object) -> str:
    try:
        raw = base64.b64decode(text(found), validate=True)
    except (binascii.Error, ValueError):
        raise UnexpectedError("bytes in base64", found) from None
    return raw.decode("utf-8", "surrogateescape")
