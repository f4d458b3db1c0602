"""What the verbs are given is what their annotations say: a value of another kind is a UsageError that names it."""

from __future__ import annotations

import inspect
import operator
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec, SupportsIndex, TypeVar, get_args

from renorm_cli.api.report import Report
from renorm_cli.errors import UsageError
from renorm_cli.formats.base import Found
from renorm_cli.model.constraint import Per
from renorm_cli.text import show

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

PathLike = str | os.PathLike[str]
Patterns = str | Iterable[str]
Roles = str | Iterable[str]
Axes = str | int | Iterable[int]
Units = Axes | Iterable[str] | Mapping[str, Axes]
Dtypes = str | Iterable[str] | Mapping[str, str]
Engine = Literal["auto", "numpy", "tensorflow"]
Device = Literal["auto", "cpu", "gpu"]
PerEach = Literal["unit", "tensor"]
NonFinite = Literal["refuse", "skip"]
NormKind = Literal["p", "spectral"]
Convolution = Literal["matrix", "operator"]
Companions = Callable[[Report], Mapping[Path, Iterable[bytes]]]


class _Kind(NamedTuple):
    words: str
    holds: Callable[[Any], bool]


def checked(verb: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """The verb, which raises UsageError for an argument that is none of the kinds in its annotation.

    Items of iterables, and what a number may be, are left to the verb.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    def call(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            kinds = [KINDS[one] for one in signature.parameters[name].annotation.split(" | ")]
            if not any(kind.holds(value) for kind in kinds):
                words = " or ".join(kind.words for kind in kinds)
                raise UsageError(f"{name} is {words}, got {shown(value)}")
        return verb(*args, **kwargs)

    return call


def shown(value: object) -> str:
    """Any value in a message: one line, not too long."""
    return show(reprlib.repr(value))


def _instance(words: str, *types: type) -> _Kind:
    return _Kind(words, lambda value: isinstance(value, types) and not isinstance(value, bytes))


def _number(words: str, convert: Callable[[Any], object]) -> _Kind:
    def holds(value: Any) -> bool:
        try:
            convert(value)
        except (TypeError, ValueError, OverflowError):
            return False
        return not isinstance(value, bool | str | bytes)

    return _Kind(words, holds)


def _one_of(choice: Any) -> _Kind:
    among = get_args(choice)
    return _Kind(f"one of {', '.join(map(repr, among))}", lambda value: isinstance(value, str) and value in among)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and os.fspath(value) != "" and isinstance(os.fspath(value), str)


def _is_rules(value: Any) -> bool:
    from renorm_cli.plan.rules import Rules

    return isinstance(value, Rules)


def _is_stored(value: Any) -> bool:
    from renorm_cli.gate.stored_report import Stored

    return isinstance(value, Stored)


def _is_meter(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("start", "advance"))


KINDS = {
    "PathLike": _Kind("a path", _is_path),
    "Found": _instance("what was found at one", Found),
    "Rules": _Kind("rules that were read", _is_rules),
    "Stored": _Kind("a report that was read", _is_stored),
    "None": _Kind("None", lambda value: value is None),
    "bool": _Kind("True or False", lambda value: isinstance(value, bool)),
    "int": _number("an integer", operator.index),
    "float": _number("a number", float),
    "str": _instance("a text", str),
    "Patterns": _instance("a pattern or several", Iterable),
    "Roles": _instance("a role or several", Iterable),
    "Units": _instance("'auto', an axis or several, or axes by patterns", SupportsIndex, Iterable),
    "Dtypes": _instance("dtypes by patterns, as GLOB=DTYPE", Iterable),
    "Meter": _Kind("a meter, which has start and advance", _is_meter),
    "Workers": _Kind("what does the parts of a checkpoint", callable),
    "Companions": _Kind("a function of the report", callable),
    "Per": _one_of(Per),
    "PerEach": _one_of(PerEach),
    "Engine": _one_of(Engine),
    "Device": _one_of(Device),
    "NonFinite": _one_of(NonFinite),
    "NormKind": _one_of(NormKind),
    "Convolution": _one_of(Convolution),
}
"""What values each part of an annotation stands for, and how a message calls them."""
