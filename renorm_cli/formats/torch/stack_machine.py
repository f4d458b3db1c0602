"""The instructions of a pickle, carried out on plain data: nothing is imported, nothing is called.

What a pickle would import is a `Global`, what it would make by a call is a `Made`, and a dict is a list of pairs, so
that no key is hashed. Source: Lib/pickletools.py of Python 3.13, protocols 0 to 5 without buffers out of band.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import digest

MOST_BYTES = 64 << 20
_MOST_STEPS = 6_000_000
_LONGEST_LINE = 4096
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Global:
    """What would be imported: "torch._utils._rebuild_tensor_v2"."""

    name: str


@dataclass(eq=False, slots=True)
class Pairs:
    """A dict, as the pairs that were put in."""

    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Made:
    """What a call would return: of which global, with which arguments, state and items."""

    what: Any
    args: Any
    state: Any = None
    items: list[Any] = field(default_factory=list)


class Damaged(FormatError):
    """The pickle is damaged, or larger than any that is read."""

    __module__ = "renorm_cli"


Call = Callable[[Any, Any], Any]
"""Makes a value of what a pickle would call and its arguments."""
Persistent = Callable[[Any], Any]
"""Makes a value of what a pickle refers to outside itself."""


class Machine:
    """Reads one pickle after the other from bytes; `at` is where the next begins, `imported` what all would import."""

    def __init__(self, data: bytes, call: Call = Made, persistent: Persistent = lambda value: value) -> None:
        self._data, self._call, self._persistent = data, call, persistent
        self.at = 0
        self.imported: set[str] = set()
        self._steps = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The value of the next pickle. Raises Damaged."""
        self._stack, self._marks, self._memo = [], [], {}
        while True:
            code = self._take(1)[0]
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise Damaged(f"its pickle has more than {_MOST_STEPS} instructions")
            if code == _STOP:
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                raise Damaged(f"its pickle has no instruction {code:#x}")
            step(self)

    # --- reading

    def _take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if count < 0 or self.at > len(self._data):
            raise Damaged("its pickle is cut short")
        return self._data[start : self.at]

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> str:
        end = self._data.find(b"\n", self.at, self.at + _LONGEST_LINE)
        if end < 0:
            raise Damaged("its pickle has a line that does not end")
        line, self.at = self._data[self.at : end], end + 1
        return line.decode("utf-8", "backslashreplace")

    def _text(self, count: int) -> str:
        return self._take(count).decode("utf-8", "backslashreplace")

    # --- the stack

    def _pop(self) -> Any:
        if not self._stack:
            raise Damaged("its pickle takes what is not there")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise Damaged("its pickle takes what is not there")
        return self._stack[-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _to_mark(self) -> list[Any]:
        if not self._marks:
            raise Damaged("its pickle takes what is not there")
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _got(self, number: int) -> None:
        if number not in self._memo:
            raise Damaged("its pickle takes what is not there")
        self._push(self._memo[number])

    # --- containers

    def _set(self, items: list[Any]) -> None:
        target = self._top()
        if len(items) % 2 or not isinstance(target, Pairs | Made):
            raise Damaged("its pickle puts pairs where there is no dict")
        target.items.extend(zip(items[::2], items[1::2], strict=True))

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Made):
            target.items.extend(items)
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise Damaged("its pickle puts items where there is no list")

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    def _dict(self) -> None:
        items = self._to_mark()
        self._push(Pairs())
        self._set(items)

    def _one_pair(self) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def _append(self) -> None:
        self._extend([self._pop()])

    # --- what would run

    def _reduce(self) -> None:
        args, what = self._pop(), self._pop()
        if isinstance(args, tuple) and args and isinstance(args[0], list | tuple):
            self._steps += len(args[0])  # one list may be the argument of every call, and is read by each
        self._push(self._call(what, args))

    def _new_with_keywords(self) -> None:
        self._pop()
        self._reduce()

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise Damaged("its pickle imports what has no name")
        self._push(self._import(f"{module[:_LONGEST_NAME]}.{name[:_LONGEST_NAME]}"))

    def _global(self) -> Global:
        module = self._line()
        return self._import(f"{module}.{self._line()}")

    def _import(self, name: str) -> Global:
        self.imported.add(name)
        return Global(name)

    def _instance(self) -> None:
        what = self._global()
        self._push(Made(what, tuple(self._to_mark())))

    def _object(self) -> None:
        items = self._to_mark()
        self._push(Made(items[0] if items else None, tuple(items[1:])))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Made):
            target.state = state

    def _remember(self, number: int) -> None:
        self._memo[number] = self._top()


def digest_of(value: Any) -> str | None:
    """The SHA-256 of what a pickle tells, whichever parts of it are one object; None for what holds itself."""
    known: dict[int, str] = {}
    entered: set[int] = set()
    whole = (value,)
    waiting: list[Any] = [whole]
    while waiting:
        one = waiting[-1]
        inside = _inside(one)
        if id(one) in entered:
            parts = (known.get(id(part)) or _leaf(part) for part in inside)
            known[id(one)] = digest([type(one).__name__.encode(), *(part.encode() for part in parts)])
        if id(one) in known:
            waiting.pop()
            continue
        entered.add(id(one))
        containers = [part for part in inside if isinstance(part, list | tuple | Pairs | Made)]
        if any(id(part) in entered and id(part) not in known for part in containers):
            return None
        waiting += containers
    return known[id(whole)]


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, Pairs):
        return value.items
    return (value.what, value.args, value.state, *value.items) if isinstance(value, Made) else value


def _leaf(value: Any) -> str:
    # An integer may have more digits than Python writes.
    return digest([(f"{value:x}" if type(value) is int else repr(value)).encode("utf-8", "surrogatepass")])


def _integer(text: str) -> Any:
    """A line of protocol 0, which also has booleans."""
    if text in ("00", "01"):
        return text == "01"
    try:
        return int(text.removesuffix("L"))
    except ValueError:
        raise Damaged("its pickle has a line that is no number") from None


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Damaged("its pickle has a line that is no number") from None


def _pushes(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine._push(make(machine))


def _long(layout: str) -> Callable[[Machine], Any]:
    return lambda machine: int.from_bytes(machine._take(machine._number(layout)), "little", signed=True)


_STOP = ord(".")
_Step = Callable[[Machine], Any]

_VALUES: dict[int, _Step] = {
    0x4E: lambda machine: None,
    0x88: lambda machine: True,
    0x89: lambda machine: False,
    0x49: lambda machine: _integer(machine._line()),
    0x4C: lambda machine: _integer(machine._line()),
    0x46: lambda machine: _real(machine._line()),
    0x4A: lambda machine: machine._number("<i"),
    0x4B: lambda machine: machine._number("<B"),
    0x4D: lambda machine: machine._number("<H"),
    0x47: lambda machine: machine._number(">d"),
    0x8A: _long("<B"),
    0x8B: _long("<i"),
    0x58: lambda machine: machine._text(machine._number("<I")),
    0x8C: lambda machine: machine._text(machine._number("<B")),
    0x8D: lambda machine: machine._text(machine._number("<Q")),
    0x56: lambda machine: machine._line(),
    0x53: lambda machine: machine._line(),
    0x54: lambda machine: machine._take(machine._number("<i")),
    0x55: lambda machine: machine._take(machine._number("<B")),
    0x43: lambda machine: machine._take(machine._number("<B")),
    0x42: lambda machine: machine._take(machine._number("<I")),
    0x8E: lambda machine: machine._take(machine._number("<Q")),
    0x96: lambda machine: machine._take(machine._number("<Q")),
    0x29: lambda machine: (),
    0x5D: lambda machine: [],
    0x7D: lambda machine: Pairs(),
    0x8F: lambda machine: Made(Global("builtins.set"), ()),
    0x74: lambda machine: tuple(machine._to_mark()),
    0x6C: lambda machine: machine._to_mark(),
    0x91: lambda machine: Made(Global("builtins.frozenset"), tuple(machine._to_mark())),
    0x32: lambda machine: machine._top(),
    0x63: lambda machine: machine._global(),
    0x51: lambda machine: machine._persistent(machine._pop()),
    0x50: lambda machine: machine._persistent(machine._line()),
    0x82: lambda machine: Made(Global("copyreg.extension"), machine._take(1)),
    0x83: lambda machine: Made(Global("copyreg.extension"), machine._take(2)),
    0x84: lambda machine: Made(Global("copyreg.extension"), machine._take(4)),
}
"""Instructions that push a value."""

_STEPS: dict[int, _Step] = {
    **{code: _pushes(make) for code, make in _VALUES.items()},
    0x71: lambda machine: machine._remember(machine._number("<B")),
    0x72: lambda machine: machine._remember(machine._number("<I")),
    0x70: lambda machine: machine._remember(_integer(machine._line())),
    0x94: lambda machine: machine._remember(len(machine._memo)),
    0x68: lambda machine: machine._got(machine._number("<B")),
    0x6A: lambda machine: machine._got(machine._number("<I")),
    0x67: lambda machine: machine._got(_integer(machine._line())),
    0x28: Machine._mark,
    0x30: Machine._pop,
    0x31: Machine._to_mark,
    0x85: lambda machine: machine._tuple(1),
    0x86: lambda machine: machine._tuple(2),
    0x87: lambda machine: machine._tuple(3),
    0x64: Machine._dict,
    0x73: Machine._one_pair,
    0x75: lambda machine: machine._set(machine._to_mark()),
    0x61: Machine._append,
    0x65: lambda machine: machine._extend(machine._to_mark()),
    0x90: lambda machine: machine._extend(machine._to_mark()),
    0x52: Machine._reduce,
    0x81: Machine._reduce,
    0x92: Machine._new_with_keywords,
    0x93: Machine._stack_global,
    0x69: Machine._instance,
    0x6F: Machine._object,
    0x62: Machine._build,
    0x80: lambda machine: machine._take(1),
    0x95: lambda machine: machine._take(8),
}
"""All instructions but the last, by their codes."""
