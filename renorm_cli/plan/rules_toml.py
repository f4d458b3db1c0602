"""Rules as a TOML file: a strict reader of what people write, and a writer whose text is plain ASCII."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from renorm_cli.errors import UsageError, Way
from renorm_cli.model.blocks import MOST_AXES
from renorm_cli.model.norm import EUCLIDEAN, SPECTRAL, Norm, PNorm
from renorm_cli.plan.rules import Rule, Rules
from renorm_cli.text import exact_text, show
from renorm_cli.untrusted import Reader, UnexpectedError, field, number, read_small, shown

MOST_BYTES = 1 << 20
"""Larger files are not read."""

_QUOTED = re.compile(
    r'''"""(?:[^"\\]+|\\(?s:.)|"{1,2}(?!"))*(?:"{3,5})?|"(?:[^"\\\n]+|\\[^\n])*"?|#[^\n]*|'''
    r"""'''(?:[^']+|'{1,2}(?!'))*(?:'{3,5})?|'[^'\n]*'?"""
)
_DOTTED = re.compile(r"(?:\.[^.=\n,{}\[\]]*){8}")
"""Text that is no code, and what is left of a key of many parts: the parser's time for one is quadratic, and no rule
has it."""

_KEYS = ("match", "max_norm", "norm", "p", "units", "blocks", "per", "leave")
_EXAMPLE = 'begin one with [[rule]], match = "..." and max_norm = 1.5'

_UNSAFE = re.compile(r"""[^ !$-\[\]-~]""")
"""What is escaped in a TOML string: quotes, backslashes, `#` (CI runners look for it), and all but printable ASCII."""

_T = TypeVar("_T")


def read_rules(path: Path) -> Rules:
    """Read a rules file: tables `[[rule]]` with `match` and either `max_norm` (and `norm`, `p`, `units`, `blocks`,
    `per`) or `leave`.

    Raises UsageError for anything else, naming the rule and the key.
    """
    where = f"rules {str(path)!r}"
    tables = _tables(_toml(_read(path, where), where), where)
    return Rules(str(path), tuple(_rule(number, table, where) for number, table in enumerate(tables, 1)))


def rules_text(rules: Sequence[Rule], comments: Sequence[str] = ()) -> str:
    """Write rules as TOML in ASCII, a comment line for each of `comments` first; `read_rules` reads the same rules.

    Raises UsageError where the text would be longer than what is read.
    """
    head = [f"# {show(comment, None, ascii=True)}".rstrip() for comment in comments]
    text = "\n\n".join("\n".join(lines) for lines in ([head] if head else []) + [_lines(rule) for rule in rules]) + "\n"
    if len(text) > MOST_BYTES:
        raise UsageError(
            f"the {len(rules)} rules would take {len(text)} bytes, and at most {MOST_BYTES} are read",
            Way("include", "select fewer variables"),
            Way("one_bound", "write one bound for all", True),
        )
    return text


def _read(path: Path, where: str) -> str:
    raw = read_small(path, MOST_BYTES, where, "a TOML file of rules", UsageError)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8 text: byte {error.start} is wrong; TOML is UTF-8") from None


def _toml(text: str, where: str) -> dict[str, Any]:
    if _DOTTED.search(_QUOTED.sub("", text)):
        raise UsageError(f"{where} has a dotted key; {_EXAMPLE}")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{where} is nested too deep for rules") from None
    except ValueError as error:
        position = re.search(r"at line \d+, column \d+|at end of document", str(error))
        raise UsageError(f"{where} is no valid TOML{f' {position[0]}' if position else ''}") from None


def _tables(found: dict[str, Any], where: str) -> list[dict[str, Any]]:
    unknown = next((key for key in found if key != "rule"), None)
    if unknown is not None:
        raise UsageError(f"{where}: unknown key {shown(unknown)} outside of a rule; {_EXAMPLE}")
    if not found:
        raise UsageError(f"{where} has no rule in it; {_EXAMPLE}")
    tables = found["rule"]
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{where}: rule is not a list of tables; {_EXAMPLE}")
    return tables


def _rule(number: int, table: dict[str, Any], where: str) -> Rule:
    where = f"{where}: rule {number}"
    unknown = next((key for key in table if key not in _KEYS), None)
    if unknown is not None:
        raise UsageError(f"{where}: unknown key {shown(unknown)}; known are {', '.join(_KEYS)}")
    if ("leave" in table) == ("max_norm" in table):
        found = "both max_norm and" if "leave" in table else "neither max_norm nor"
        raise UsageError(f"{where} has {found} leave; give one of them")

    def get(key: str, read: Reader[_T]) -> _T | None:
        try:
            return field(table, key, read) if key in table else None
        except UnexpectedError as wrong:
            raise UsageError(f"{where}: {wrong.path} takes {wrong.expected}, got {shown(wrong.found)}") from None

    match = get("match", _patterns)
    if match is None:
        raise UsageError(f'{where} has no match; give it a pattern such as "*/kernel", or a list of them')
    kind, order = get("norm", _kind), get("p", _order)
    rule = Rule(
        number,
        match,
        get("max_norm", _limit),
        order or kind,
        get("units", _axes),
        get("per", _scope),
        get("blocks", _axes),
    )
    if get("leave", _true) and (
        extra := next((key for key in ("norm", "p", "units", "blocks", "per") if key in table), None)
    ):
        raise UsageError(f"{where} has both leave and {extra}; leave out one of them")
    if kind == SPECTRAL and (extra := next((key for key in ("p", "per") if key in table), None)):
        raise UsageError(f'{where} has both norm = "spectral" and {extra}, which it has not; leave out one of them')
    if rule.blocks is not None and kind != SPECTRAL:
        raise UsageError(f'{where} has blocks, which go with norm = "spectral"; add it or leave out blocks')
    if rule.per == "tensor" and rule.units is not None:
        raise UsageError(f'{where} has both units and per = "tensor", which has no units; leave out one of them')
    return rule


def _patterns(value: object) -> tuple[str, ...]:
    patterns = value if isinstance(value, list) else [value]
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise UnexpectedError("a pattern, or a list of patterns", value)
    return tuple(patterns)


def _limit(value: object) -> float:
    limit = number(value)
    if not 0 < limit < math.inf:
        raise UnexpectedError("a finite number above 0", value)
    return limit


def _kind(value: object) -> Norm:
    if value in ("p", "spectral"):
        return SPECTRAL if value == "spectral" else EUCLIDEAN
    raise UnexpectedError('"p" or "spectral"', value)


def _order(value: object) -> PNorm:
    try:
        return PNorm(math.inf if value == "inf" else number(value))
    except UsageError:
        raise UnexpectedError('a number from 1/512 to 512, or "inf"', value) from None


def _axes(value: object) -> tuple[int, ...] | None:
    if value == "auto":
        return None
    axes = value if isinstance(value, list) else [value]
    if not axes or not all(type(axis) is int and abs(axis) <= MOST_AXES for axis in axes):
        raise UnexpectedError('"auto", an axis such as -1, or a list of axes', value)
    return tuple(axes)


def _scope(value: object) -> Literal["unit", "tensor"]:
    if value == "unit":
        return "unit"
    if value == "tensor":
        return "tensor"
    raise UnexpectedError('"unit" or "tensor"', value)


def _true(value: object) -> bool:
    if value is not True:
        raise UnexpectedError("true", value)
    return True


def _lines(rule: Rule) -> list[str]:
    patterns = [_string(pattern) for pattern in rule.match]
    match = patterns[0] if len(patterns) == 1 else "\n".join(["[", *(f"    {one}," for one in patterns), "]"])
    lines = ["[[rule]]", f"match = {match}"]
    if rule.limit is None:
        return [*lines, "leave = true"]
    lines.append(f"max_norm = {exact_text(rule.limit)}")
    if rule.norm == SPECTRAL:
        lines.append('norm = "spectral"')
    if isinstance(rule.norm, PNorm):
        lines.append(f"p = {exact_text(rule.norm.p)}")
    if rule.units is not None:
        lines.append(f"units = {list(rule.units)}")
    if rule.blocks:
        lines.append(f"blocks = {list(rule.blocks)}")
    if rule.per is not None:
        lines.append(f"per = {_string(rule.per)}")
    return lines


def _string(text: str) -> str:
    """A TOML basic string in ASCII. Raises ValueError for a lone surrogate, which no TOML string can hold."""
    return f'"{_UNSAFE.sub(_escaped, text)}"'


def _escaped(char: re.Match[str]) -> str:
    code = ord(char[0])
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError(f"U+{code:04X} is no character")
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
