"""Values from outside (JSON, TOML, a worker's reply), read strictly: what is not expected is an error that says where.

A reader takes a value and returns it with its type known, or raises UnexpectedError.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from renorm_cli.errors import RenormError

_T = TypeVar("_T")
Reader = Callable[[object], _T]

_LONGEST_NAME = 120
_LONGEST_SHOWN = 40
_MISSING = object()


class JsonError(Exception):
    """Says of a text why it was not read: "is no valid JSON at character 5"."""


class UnexpectedError(Exception):
    """A value is not what was expected: `path` leads to it from the value that was read, as in "variables.3.p"."""

    def __init__(self, expected: str, found: object, path: str = "") -> None:
        super().__init__(expected, found, path)
        self.expected, self.found, self.path = expected, found, path

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.expected} was expected, found {shown(self.found)}"

    def inside(self, key: object) -> UnexpectedError:
        """The same of the value that holds this one under `key`."""
        return UnexpectedError(self.expected, self.found, f"{key}.{self.path}" if self.path else str(key))


def text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise UnexpectedError("a text", value)
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UnexpectedError("true or false", value)
    return value


def number(value: object) -> float:
    """An int or a float, but no bool; an int beyond the range of float64 is inf or -inf."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnexpectedError("a number", value)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def finite(value: object) -> float:
    """A number that is neither NaN nor infinite."""
    found = number(value)
    if not math.isfinite(found):
        raise UnexpectedError("a finite number", value)
    return found


def below(end: int) -> Reader[int]:
    """A reader of integers from 0 to `end` - 1."""

    def read(value: object) -> int:
        if type(value) is not int or not 0 <= value < end:
            raise UnexpectedError(f"an integer from 0 to {end - 1}", value)
        return value

    return read


def integers(value: object) -> tuple[int, ...]:
    """A list of integers, none of them a bool."""
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise UnexpectedError("a list of integers", value)
    return tuple(value)


def table(value: object) -> dict[str, Any]:
    """An object of JSON, a table of TOML."""
    if not isinstance(value, dict):
        raise UnexpectedError("a table", value)
    return value


def items(value: object, read: Reader[_T]) -> tuple[_T, ...]:
    """What `read` makes of each item of a list."""
    if not isinstance(value, list):
        raise UnexpectedError("a list", value)
    return tuple(_at(place, each, read) for place, each in enumerate(value))


def entries(value: object, key: Reader[str], read: Reader[_T]) -> dict[str, _T]:
    """A table, whose keys `key` reads and whose values `read` reads."""
    return {key(name): _at(quoted(str(name)), each, read) for name, each in table(value).items()}


def field(record: Mapping[str, object], name: str, read: Reader[_T]) -> _T:
    """What `read` makes of the field `name`; no reader takes a field that is missing."""
    return _at(name, record.get(name, _MISSING), read)


def optional(read: Reader[_T]) -> Reader[_T | None]:
    """A reader that takes null, too."""
    return lambda value: None if value is None else read(value)


def _at(key: object, value: object, read: Reader[_T]) -> _T:
    try:
        return read(value)
    except UnexpectedError as error:
        raise error.inside(key) from None


def shown(value: object) -> str:
    """A value for an error message: itself if it is short, else what kind of value it is; of no value, why not."""
    if isinstance(value, JsonError):
        return f"text that {value}"
    if isinstance(value, str) and len(value) <= _LONGEST_SHOWN:
        return repr(value)
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**_LONGEST_SHOWN):
        return repr(value)
    names = {str: "a long text", int: "a long number", list: "another list", dict: "a table"}
    known = next((name for kind, name in names.items() if isinstance(value, kind)), "a date or time")
    return "nothing" if value is _MISSING else known


def quoted(name: str | bytes) -> str:
    """A name from a file for an error message: quoted, escaped and at most some 120 characters long."""
    found = ascii(name[: _LONGEST_NAME + 1])
    return found if len(found) <= _LONGEST_NAME + 2 else found[: _LONGEST_NAME - 1] + "..." + found[-1]


def is_file_name(value: object) -> TypeGuard[str]:
    """Whether a value names a file inside of a folder, and leads nowhere else."""
    return isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and "\0" not in value


def most_values(raw: bytes) -> int:
    """How many values a JSON text has at most, but for one: found before it is parsed, which takes memory for each."""
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def parse_json(raw: str | bytes, *, depth: int, strict: bool = False) -> Any:
    """The value of a JSON text in UTF-8 with at most `depth` levels of lists and objects.

    With `strict`, NaN, Infinity and a key that comes twice are refused. Raises JsonError.
    """
    too_deep = JsonError(f"is nested deeper than {depth} levels")
    rules: dict[str, Any] = {"parse_constant": _no_constant, "object_pairs_hook": _once} if strict else {}
    try:
        found = json.loads(raw if isinstance(raw, str) else raw.decode("utf-8"), **rules)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        position = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise JsonError(f"is no valid JSON{position}") from None
    level: list[object] = [[found]]
    for _ in range(depth + 1):
        level = [inner for value in level for inner in nested(value)]
        if not level:
            return found
    raise too_deep


def nested(value: object) -> Iterator[dict[str, Any] | list[Any]]:
    """The lists and objects directly inside a value, in order."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (item for item in inside if isinstance(item, dict | list))


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise JsonError("has a key that comes twice in one object")
    return made


def read_small(path: Path, most: int, where: str, what: str, error: type[RenormError], hint: str = "") -> bytes:
    """The content of a regular file of at most `most` bytes; `where` begins a message, `what` was expected.

    Raises `error` for a file that is not there, not regular, too large or not readable; `hint` ends what says so.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{where} is not a regular file; {what} was expected")
            if found.st_size > most:
                raise error(f"{where} has {found.st_size} bytes; at most {most} are read")
            return file.read(most)
    except FileNotFoundError:
        from renorm_cli.missing import no_such_file  # looks for what is named almost so

        raise error(f"{where}: {no_such_file(path)}{hint}") from None
    except OSError as failed:
        raise error(f"{where} cannot be read: {os.strerror(failed.errno or 0)}{hint}") from None
    except ValueError:
        raise error(f"{where} is no name of a file{hint}") from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a FIFO, too, that nothing writes to."""
    return os.open(path, flags | os.O_NONBLOCK)
