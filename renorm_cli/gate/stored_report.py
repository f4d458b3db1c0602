"""Read an earlier report of ours: a file from outside, whose size, depth, types and numbers are checked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from renorm_cli.errors import FormatError
from renorm_cli.storage.small_file import read_small

_T = TypeVar("_T")

_MOST_BYTES = 256 << 20
_DEPTH = 12
"""Levels of lists and objects; a report of ours has seven."""

_WRITE_ONE = "write one with `inspect --report FILE.json`"


@dataclass(frozen=True, slots=True)
class Earlier:
    """One measured variable of an earlier report; `largest` is its largest unit norm, None where none was finite."""

    name: str
    key: str
    unit_axes: tuple[int, ...]
    p: float
    per: str
    largest: float | None


def read_earlier(path: Path) -> tuple[dict[str, tuple[Earlier, ...]], bool]:
    """The measured variables of a JSON report by the path of their checkpoint, and whether it is a report on several.

    Of an `apply` its output counts, and the norms after it. Raises FormatError for anything that is no such report.
    """
    where = f"--baseline {str(path)!r}"
    raw = read_small(path, _MOST_BYTES, where, "a JSON report", FormatError, f"; {_WRITE_ONE}")
    found = _json(raw, where)
    records = found if isinstance(found, list) else [found]
    if not records:
        raise FormatError(f"{where} has no report in it; {_WRITE_ONE}")
    reports: dict[str, tuple[Earlier, ...]] = {}
    for record in records:
        source, variables = _report(record, where)
        if source in reports:
            raise FormatError(f"{where} has two reports of {source!r}; one was expected")
        reports[source] = variables
    return reports, isinstance(found, list)


def _json(raw: bytes, where: str) -> Any:
    """The value of a JSON text; NaN, Infinity and a key that comes twice are refused."""
    too_deep = FormatError(f"{where} is nested too deep for a report of ours; {_WRITE_ONE}")
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        position = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise FormatError(f"{where} is no valid JSON{position}; {_WRITE_ONE}") from None
    level: list[object] = [found]
    for _ in range(_DEPTH):
        level = [item for one in level for item in _items(one) if isinstance(item, dict | list)]
        if not level:
            return found
    raise too_deep


def _items(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key comes twice")
    return made


def _report(record: object, where: str) -> tuple[str, tuple[Earlier, ...]]:
    if not isinstance(record, dict) or record.get("tool") != "renorm-ckpt":
        raise FormatError(f"{where} is no report of renorm-ckpt; {_WRITE_ONE}")
    version, command = record.get("schema_version"), record.get("command")
    if type(version) is not int or version != 1:
        raise FormatError(f"{where} has another schema_version than 1, the only one known; {_WRITE_ONE}")
    if command not in ("inspect", "check", "apply"):
        raise FormatError(f"{where} is no report of inspect, check or apply; {_WRITE_ONE}")
    applied = command == "apply" and record.get("dry_run") is not True
    fields = _Fields(record, where)
    source = _Fields(fields.get("source", _object), f"{where}: source").get("path", _text)
    records = enumerate(fields.get("variables", _list))
    variables = tuple(_earlier(one, f"{where}: variable {at}", applied) for at, one in records)
    if len({one.key for one in variables}) < len(variables):
        raise FormatError(f"{where} has two variables of one key; the report is damaged")
    return os.path.normpath(fields.get("output", _text) if applied else source), variables


def _earlier(record: object, where: str, applied: bool) -> Earlier:
    if not isinstance(record, dict):
        raise FormatError(f"{where} is no object; the report is damaged")
    fields = _Fields(record, where)
    stats = fields.get("norm", _stats)
    if applied and record.get("norm_after") is not None:
        stats = fields.get("norm_after", _stats)
    return Earlier(
        fields.get("name", _text),
        fields.get("key", _text),
        fields.get("unit_axes", _axes),
        fields.get("p", _order),
        fields.get("per", _text),
        None if stats is None else _Fields(stats, f"{where}: norm").get("max", _norm),
    )


class _Fields:
    """The fields of a record, each checked as it is read."""

    def __init__(self, record: dict[str, Any], where: str) -> None:
        self._record = record
        self._where = where

    def get(self, name: str, read: Callable[[object], _T]) -> _T:
        """What `read` makes of a field. Raises FormatError where it is absent or `read` refuses it."""
        if name not in self._record:
            raise FormatError(f"{self._where} has no {name!r}; the report is damaged")
        try:
            return read(self._record[name])
        except ValueError as expected:
            raise FormatError(f"{self._where}: {name!r} is not {expected}; the report is damaged") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("a list")
    return value


def _stats(value: object) -> dict[str, Any] | None:
    return None if value is None else _object(value)


def _norm(value: object) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError("a norm")
    return number


def _order(value: object) -> float:
    return math.inf if value == "inf" else _number(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("a finite number") from None
    if not math.isfinite(number):
        raise ValueError("a finite number")
    return number


def _axes(value: object) -> tuple[int, ...]:
    axes = _list(value)
    if not all(type(axis) is int for axis in axes):
        raise ValueError("a list of axes")
    return tuple(axes)
