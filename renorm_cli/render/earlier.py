"""A report file that is there already: whether it is one of ours, and which checkpoints it is about."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from renorm_cli.errors import FormatError
from renorm_cli.untrusted import read_small

_MOST_BYTES = 256 << 20


class Mark(NamedTuple):
    """How a report of a format begins, where it names a checkpoint, and what the name there stands for.

    Where it has findings alone, it may name none (`bare`).
    """

    begins: str
    names: str
    read: Callable[[str], Any]
    bare: bool = False


def _cell(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _uri(text: str) -> str:
    return unquote(text.removeprefix("file://"))


_STRING = r'"(?:[^"\\\n]|\\.)*"'
_MARKS = {
    "json": Mark(
        r'\[?\{\n "schema_version": 1,\n "tool": "renorm-ckpt",',
        rf'^ "(?:source|before|after)": \{{"path": ({_STRING})',
        json.loads,
    ),
    "jsonl": Mark(
        r'\{"schema_version":1,"tool":"renorm-ckpt",',
        rf'^\{{"schema_version":1,"tool":"renorm-ckpt","version":{_STRING},"command":{_STRING},"source":\{{"path":({_STRING})',
        json.loads,
    ),
    "csv": Mark(r"path,(?:status,reason|of),name,key,", r'^(?!path,)("(?:[^"\n]|"")*"|[^",\n]*),', _cell),
    "html": Mark(r"<!DOCTYPE html>\n", r'^<meta name="checkpoint" content="([^"]*)">$', html.unescape),
    "junit": Mark(
        r'<\?xml version="1.0" encoding="utf-8"\?>\n<testsuites name="renorm-ckpt"',
        r'^(?:  <testsuite|    <testcase classname="renorm-ckpt") name="((?!renorm-ckpt")[^"]*)"',
        html.unescape,
    ),
    "sarif": Mark(
        r'\{"\$schema": "[^"]*", "version": "2.1.0", "runs": \[\{"tool": \{"driver": \{"name": "renorm-ckpt"',
        r'"artifactLocation": \{"uri": "((?:[^"\\]|\\.)*)"',
        _uri,
        bare=True,
    ),
    "gitlab": Mark(
        r'\[\]\n\Z|\[\n\{"description": "[^\n]*", "check_name": "renorm-',
        rf'"location": \{{"path": ({_STRING}), "lines": ',
        json.loads,
        bare=True,
    ),
}
"""Of the formats whose files name the program that made them, or have columns that no other has."""


def is_told(format: str) -> bool:
    """Whether a report of ours in that format can be told from other files."""
    return format in _MARKS


def checkpoints_in(path: Path, format: str) -> frozenset[str] | None:
    """The checkpoints that a report file is about; None if it is no report of ours in that format."""
    mark = _MARKS.get(format)
    if mark is None:
        return None
    try:
        text = read_small(path, _MOST_BYTES, "the report", "a report", FormatError).decode("utf-8", "replace")
        if re.match(mark.begins, text) is None:
            return None
        named = frozenset(str(mark.read(found[1])) for found in re.finditer(mark.names, text, re.MULTILINE))
        return named if named or mark.bare else None
    except (FormatError, ValueError):
        return None
