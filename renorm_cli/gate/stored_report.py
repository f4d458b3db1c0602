"""Read an earlier report of ours: a file from outside, whose size, depth, types and numbers are checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.untrusted import (
    JsonError,
    UnexpectedError,
    field,
    finite,
    integers,
    items,
    optional,
    parse_json,
    read_small,
    table,
    text,
)

_MOST_BYTES = 256 << 20
_DEPTH = 12
"""Levels of lists and objects; a report of ours has seven."""

_WRITE_ONE = "a JSON report of `inspect`, `check` or `apply` is one"


@dataclass(frozen=True, slots=True)
class Earlier:
    """One measured variable of an earlier report; `largest` is its largest unit norm, None where none was finite."""

    name: str
    key: str
    unit_axes: tuple[int, ...]
    p: float | str | None
    per: str
    largest: float | None
    aliases: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    norm_kind: str = "p"
    operator: bool = False
    """Whether it is the operator norm of a convolution."""


class Stored(NamedTuple):
    """A JSON report that was read: the measured variables by the path of their checkpoint.

    `several` tells that one run over several checkpoints wrote it.
    """

    path: str
    reports: dict[str, tuple[Earlier, ...]]
    several: bool


def read_stored(path: Path) -> Stored:
    """Read a JSON report of `inspect`, `check` or `apply`, on one checkpoint or on several.

    Of an `apply` its output counts, and the norms after it. A checkpoint that failed is passed over.
    Raises FormatError for anything that is no such report, or has none of a checkpoint.
    """
    where = f"the baseline {str(path)!r}"
    raw = read_small(path, _MOST_BYTES, where, "a JSON report", FormatError, f"; {_WRITE_ONE}")
    try:
        found = parse_json(raw, depth=_DEPTH, strict=True)
    except JsonError as problem:
        raise FormatError(f"{where} {problem}; {_WRITE_ONE}") from None
    records = found if isinstance(found, list) else [found]
    reports: dict[str, tuple[Earlier, ...]] = {}
    for record in records:
        try:
            read = _report(record, where)
        except UnexpectedError as problem:
            raise FormatError(f"{where}: {problem}; the report is damaged") from None
        if read is None:
            continue
        source, variables = read
        if source in reports:
            raise FormatError(f"{where} has two reports of {source!r}; one was expected")
        reports[source] = variables
    if not reports:
        raise FormatError(f"{where} has no report in it; {_WRITE_ONE}")
    return Stored(str(path), reports, isinstance(found, list))


def _report(record: object, where: str) -> tuple[str, tuple[Earlier, ...]] | None:
    """The path of a checkpoint and its variables; None for one that failed."""
    if not isinstance(record, dict) or record.get("tool") != "renorm-ckpt":
        raise FormatError(f"{where} is no report of renorm-ckpt; {_WRITE_ONE}")
    version, command = record.get("schema_version"), record.get("command")
    if type(version) is not int or version != 1:
        raise FormatError(f"{where} has another schema_version than 1, the only one known; {_WRITE_ONE}")
    if command not in ("inspect", "check", "apply"):
        raise FormatError(f"{where} is no report of inspect, check or apply; {_WRITE_ONE}")
    if "error" in record:
        return None
    applied = command == "apply" and record.get("dry_run") is not True
    variables = field(record, "variables", lambda found: items(found, lambda one: _earlier(one, applied)))
    if len({one.key for one in variables}) < len(variables):
        raise FormatError(f"{where} has two variables of one key; the report is damaged")
    source = field(record, "source", lambda found: field(table(found), "path", text))
    return os.path.normpath(field(record, "output", text) if applied else source), variables


def _earlier(found: object, applied: bool) -> Earlier:
    record = table(found)
    norm = "norm_after" if applied and record.get("norm_after") is not None else "norm"
    return Earlier(
        field(record, "name", text),
        field(record, "key", text),
        field(record, "unit_axes", integers),
        field(record, "p", optional(_order)),
        field(record, "per", text),
        field(record, norm, optional(_largest)),
        aliases=items(record.get("aliases", []), text),
        copies=items(record.get("copies", []), text),
        norm_kind=text(record.get("norm_kind", "p")),
        operator=_is_operator(record.get("spectral")),
    )


def _is_operator(spectral: object) -> bool:
    return spectral is not None and table(spectral).get("operator") is not None


def _largest(stats: object) -> float:
    return field(table(stats), "max", _norm)


def _norm(value: object) -> float:
    norm = finite(value)
    if norm < 0:
        raise UnexpectedError("a norm", value)
    return norm


def _order(value: object) -> float | str:
    return "inf" if value == "inf" else finite(value)
