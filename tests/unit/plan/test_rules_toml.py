"""Rules files: what is read, against tomllib; what is refused, in one line; what is written, read back by tomllib."""

from __future__ import annotations

import contextlib
import math
import os
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.errors import UsageError
from renorm_cli.model.norm import PNorm
from renorm_cli.plan.rules import Rule
from renorm_cli.plan.rules_toml import MOST_BYTES, read_rules, rules_text

HOSTILE = (
    '"',
    "\\",
    '"""',
    "'''",
    "a#b",
    "##[error]",
    "\n[[rule]]",
    "\x00",
    "\x7f",
    "é",
    "😀",
    "[a]*?",
    "::x",
    "\\u0041",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(HOSTILE)
LIMITS = st.floats(5e-324, 1.7e308) | st.integers(1, 10**15).map(float)


@st.composite
def rules(draw: st.DrawFn, number: int = 1) -> Rule:
    match = tuple(draw(st.lists(TEXT, min_size=1, max_size=3)))
    if draw(st.booleans()):
        return Rule(number, match)
    per = draw(st.sampled_from([None, "unit", "tensor"]))
    axes = st.none() | st.lists(st.integers(-5, 5), min_size=1, max_size=3).map(tuple)
    norm = draw(st.none() | (st.floats(0.01, 512) | st.just(math.inf)).map(PNorm))
    return Rule(number, match, draw(LIMITS), norm, None if per == "tensor" else draw(axes), per)


@st.composite
def files(draw: st.DrawFn) -> list[Rule]:
    return [draw(rules(number)) for number in range(1, draw(st.integers(1, 4)) + 1)]


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "rules.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@given(wanted=files(), comments=st.lists(st.text(max_size=20), max_size=2))
def test_what_is_written_is_ascii_that_tomllib_reads_as_meant(wanted: list[Rule], comments: list[str]) -> None:
    text = rules_text(wanted, comments)
    assert text.isascii()
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "##[" not in text
    found = tomllib.loads(text)["rule"]
    assert len(found) == len(wanted)
    for table, rule in zip(found, wanted, strict=True):
        assert table["match"] == (rule.match[0] if len(rule.match) == 1 else list(rule.match))
        assert ("leave" in table) == (rule.limit is None)
        if rule.limit is not None:
            assert table["max_norm"] == rule.limit
            assert table.get("p") == (None if rule.norm is None else rule.norm.p)
            assert table.get("units") == (None if rule.units is None else list(rule.units))
            assert table.get("per") == rule.per


@given(wanted=files())
def test_what_is_written_is_read_as_the_same_rules(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[Rule]
) -> None:
    path = written(tmp_path_factory.getbasetemp(), rules_text(wanted, ["by hand"]))
    found = read_rules(path)
    assert list(found.rules) == wanted
    assert found.path == str(path)


def test_a_file_as_a_person_writes_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '# ours\n[[rule]]\nmatch = "encoder/*/kernel"  # all\nmax_norm = 3\np = "inf"\nunits = -1\r\n\n'
        "[[rule]]\nmatch = ['*/bias', \"x#y.a.b.c.d.e.f.g.h.i\"]\nleave = true\n"
        '[[rule]]\nmatch = "*"\nmax_norm = 0.5\nunits = "auto"\nper = "tensor"\n',
    )
    assert read_rules(path).rules == (
        Rule(1, ("encoder/*/kernel",), 3.0, PNorm(math.inf), (-1,)),
        Rule(2, ("*/bias", "x#y.a.b.c.d.e.f.g.h.i")),
        Rule(3, ("*",), 0.5, per="tensor"),
    )


BAD = {
    "": "has no rule in it; begin one with [[rule]]",
    "# nothing\n": "has no rule in it",
    "rule = 1": "rule is not a list of tables",
    "rule = []": "rule is not a list of tables",
    "rule = [1]": "rule is not a list of tables",
    "[rule]\nmatch = 'a'": "rule is not a list of tables",
    "max_norm = 1": "unknown key 'max_norm' outside of a rule",
    "[[rules]]": "unknown key 'rules' outside of a rule",
    "[[rule]]\nmatch = 'a'": "rule 1 has neither max_norm nor leave",
    "[[rule]]\nmax_norm = 1": "rule 1 has no match",
    "[[rule]]\nmatch = 'a'\nleave = true\n[[rule]]\nmaxnorm = 1": "rule 2: unknown key 'maxnorm'; known are",
    "[[rule]]\nmatch = 'a'\nmax_norm = 1\nleave = true": "rule 1 has both max_norm and leave",
    "[[rule]]\nmatch = 'a'\nleave = false": "rule 1: leave takes true, got False",
    "[[rule]]\nmatch = 'a'\nleave = true\np = 1": "rule 1 has both leave and p",
    "[[rule]]\nmatch = 'a'\nmax_norm = 1\nunits = 0\nper = 'tensor'": 'rule 1 has both units and per = "tensor"',
    "[[rule]]\nmatch = 1\nmax_norm = 1": "rule 1: match takes a pattern, or a list of patterns, got 1",
    "[[rule]]\nmatch = ''\nmax_norm = 1": "rule 1: match takes a pattern",
    "[[rule]]\nmatch = []\nmax_norm = 1": "rule 1: match takes a pattern, or a list of patterns, got another list",
    "[[rule]]\nmatch = ['a', 1]\nmax_norm = 1": "rule 1: match takes",
    "[[rule]]\nmatch = {a = 1}\nmax_norm = 1": "rule 1: match takes a pattern, or a list of patterns, got a table",
    "[[rule]]\nmatch = 1979-05-27\nmax_norm = 1": "got a date or time",
    **{
        f"[[rule]]\nmatch = 'a'\nmax_norm = {value}": "rule 1: max_norm takes a"
        for value in ("0", "-1", "inf", "nan", "true", "'1'", "[1]", "1" + "0" * 400)
    },
    **{
        f"[[rule]]\nmatch = 'a'\nmax_norm = 1\np = {value}": "rule 1: p takes a number"
        for value in ("0", "-2", "513", "nan", "true", "'two'")
    },
    **{
        f"[[rule]]\nmatch = 'a'\nmax_norm = 1\nunits = {value}": 'rule 1: units takes "auto", an axis'
        for value in ("1.0", "true", "'0,1'", "[]", "[0.5]", "[true]", "65", "0x" + "f" * 5000)
    },
    **{
        f"[[rule]]\nmatch = 'a'\nmax_norm = 1\nper = {value}": 'rule 1: per takes "unit" or "tensor"'
        for value in ("'global'", "1", "'" + "x" * 90 + "'")
    },
    "[[rule]]\nmatch = 'a\n": "is no valid TOML at end of document",
    "[[rule]]\na = 1\na = 2\n": "is no valid TOML at line 3",
    "x = " + "1" * 5000: "is no valid TOML",
    "x = " + "[" * 100_000: "is nested too deep",
    "x" + ".x" * 9 + " = 1": "has a dotted key",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:60]))
def test_what_is_no_rules_file_is_refused_in_one_line_that_says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_rules(written(tmp_path, text))
    message = str(refused.value)
    assert BAD[text] in message
    assert f"rules {str(tmp_path / 'rules.toml')!r}" in message
    assert "\n" not in message
    assert len(message) < 400


@given(raw=st.binary(max_size=60) | st.text("[]rule= \"'#.\\\n1e{},", max_size=40).map(str.encode))
def test_any_bytes_are_rules_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = written(tmp_path_factory.getbasetemp(), raw)
    try:
        tables = tomllib.loads(raw.decode()).get("rule")
    except ValueError:
        tables = None
    if tables is None:
        with pytest.raises(UsageError):
            read_rules(path)
        return
    with contextlib.suppress(UsageError):
        assert len(read_rules(path).rules) == len(tables)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (MOST_BYTES + 1))
    (tmp_path / "latin").write_bytes(b"# \xe9\n")
    for name, why in (
        ("gone", "no such file"),
        (".", "cannot be read: Is a directory"),
        ("pipe", "is not a regular file"),
        ("large", f"has {MOST_BYTES + 1} bytes; at most {MOST_BYTES} are read"),
        ("latin", "is not UTF-8 text: byte 2"),
        ("nul\x00", "is no name of a file"),
    ):
        with pytest.raises(UsageError, match=why):
            read_rules(tmp_path / name)


STRINGS = (
    '"a.b"',
    "'a.b'",
    '"""a\n.b"""',
    "'''a\n.b'''",
    '"\\"."',
    '"""\\""\n."""""',
    "''''.''''",
    '""',
    "''",
    '"#."',
    "'\"'",
)
ENDS = ("# '\n", "\n", '  # "\n')


@given(strings=st.lists(st.sampled_from(STRINGS), max_size=8), ends=st.lists(st.sampled_from(ENDS), max_size=8))
def test_dots_in_strings_and_comments_are_no_dotted_key_and_a_dotted_key_hides_in_none(
    tmp_path_factory: pytest.TempPathFactory, strings: list[str], ends: list[str]
) -> None:
    lines = [f"x{number} = {text}{end}" for number, (text, end) in enumerate(zip(strings, ends, strict=False))]
    tomllib.loads("".join(lines))
    folder = tmp_path_factory.getbasetemp()
    plain = written(folder, "".join(lines) + "[[rule]]\nmatch = '" + "." * 20 + "'\nmax_norm = 1\n")
    if lines:
        with pytest.raises(UsageError, match="unknown key 'x0' outside"):
            read_rules(plain)
    else:
        assert read_rules(plain).rules
    with pytest.raises(UsageError, match="has a dotted key"):
        read_rules(written(folder, "".join(lines) + "a" + ".a" * 9 + " = 1\n" + "".join(lines)))


def test_a_file_that_takes_the_parser_minutes_is_refused_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, ("a." * 32_000 + "a = 1\n") * 15)
    begun = time.monotonic()
    with pytest.raises(UsageError, match="has a dotted key"):
        read_rules(path)
    assert time.monotonic() - begun < 5


def test_more_rules_than_are_read_are_not_written() -> None:
    with pytest.raises(UsageError, match=f"would take [0-9]+ bytes, and at most {MOST_BYTES} are read"):
        rules_text([Rule(number, ("x" * 1000,), 1.0) for number in range(1100)])
