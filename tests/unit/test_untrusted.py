"""Values from outside are read as the json module reads them, or refused with the place where they stand."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.errors import FormatError
from renorm_cli.untrusted import (
    JsonError,
    Reader,
    UnexpectedError,
    below,
    entries,
    field,
    finite,
    integers,
    is_file_name,
    items,
    number,
    optional,
    parse_json,
    quoted,
    read_small,
    table,
    text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def deepest(value: object) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(deepest, inside), default=0)


@given(value=JSON, depth=st.integers(0, 4), strict=st.booleans())
def test_json_is_what_the_json_module_reads_up_to_the_depth_asked_for(value: Any, depth: int, strict: bool) -> None:
    written = json.dumps(value)
    strict = strict and "Infinity" not in written
    try:
        found = parse_json(written.encode(), depth=depth, strict=strict)
    except JsonError as error:
        assert str(error) == f"is nested deeper than {depth} levels"  # noqa: PT017
        assert deepest(value) > depth
    else:
        assert found == value
        assert deepest(value) <= depth


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "is no valid JSON at character 0"),
        (b"[1,]", "is no valid JSON at character"),
        (b"\xff", "is no valid JSON"),
        (b"1" * 5000, "is no valid JSON"),
        (b"[" * 100_000, "is nested deeper than 9 levels"),
        (b'{"a": NaN}', "is no valid JSON"),
        (b"-Infinity", "is no valid JSON"),
        (b'{"a": 1, "a": 1}', "has a key that comes twice"),
    ],
)
def test_text_that_is_no_json_is_refused_with_its_place(raw: bytes, what: str) -> None:
    with pytest.raises(JsonError, match=what):
        parse_json(raw, depth=9, strict=True)


READERS: dict[str, tuple[Reader[Any], list[Any], list[Any]]] = {
    "text": (text, ["", "a\ud800"], [None, 1, b"a", ["a"]]),
    "number": (number, [0, -1.5, float("inf")], [None, True, "1", [1], 1j]),
    "finite": (finite, [0, -1.5], [True, float("nan"), float("inf"), 10**400, -(10**400)]),
    "below": (below(3), [0, 2], [-1, 3, True, 1.0, "1"]),
    "table": (table, [{}, {"a": 1}], [None, [], [("a", 1)]]),
    "optional": (optional(text), [None, "a"], [1]),
}


@pytest.mark.parametrize(("read", "taken", "refused"), READERS.values(), ids=READERS)
def test_a_reader_takes_its_values_as_they_are_and_no_other(
    read: Reader[Any], taken: list[Any], refused: list[Any]
) -> None:
    assert [read(value) for value in taken] == taken
    for value in refused:
        with pytest.raises(UnexpectedError):
            read(value)
    with pytest.raises(UnexpectedError, match="found nothing"):
        field({}, "absent", read)


def test_integers_are_no_bools_and_a_number_beyond_float64_is_infinite() -> None:
    assert integers([1, -2, 10**40]) == (1, -2, 10**40)
    for value in (1, (1,), [1.0], [True], ["1"], None):
        with pytest.raises(UnexpectedError, match="a list of integers"):
            integers(value)
    assert (number(10**400), number(-(10**400))) == (float("inf"), float("-inf"))


def test_an_error_says_the_path_what_was_expected_and_what_was_found() -> None:
    def read(value: object) -> tuple[float, ...]:
        return items(value, lambda item: field(table(item), "norm", lambda norm: field(table(norm), "max", finite)))

    sound = [{"norm": {"max": 1.0}}, {"norm": {"max": 2}}]
    assert read(sound) == (1.0, 2.0)
    for spoilt, said in (
        ("x", "1.norm.max: a number was expected, found 'x'"),
        (float("nan"), "1.norm.max: a finite number was expected, found nan"),
        ({}, "1.norm.max: a number was expected, found a table"),
        ("x" * 500, "1.norm.max: a number was expected, found a long text"),
    ):
        with pytest.raises(UnexpectedError) as raised:
            read([sound[0], {"norm": {"max": spoilt}}])
        assert str(raised.value) == said
    with pytest.raises(UnexpectedError, match=r"^a list was expected, found 'x'$"):
        read("x")


def test_a_foreign_key_in_a_path_is_quoted() -> None:
    assert entries({"a": "b"}, text, text) == {"a": "b"}
    with pytest.raises(UnexpectedError) as raised:
        entries({"a\n\x1b" + "x" * 500: 1}, text, text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200


@given(name=st.text(max_size=400) | st.binary(max_size=400))
def test_a_quoted_name_is_short_ascii_in_quotes_and_whole_if_it_fits(name: str | bytes) -> None:
    found = quoted(name)
    assert len(found) <= 123
    assert found.isascii()
    assert found.isprintable()
    assert found.removeprefix("b")[0] == found[-1]
    if len(ascii(name)) <= 122:
        assert found == ascii(name)


@given(name=st.text("a.\\/\0é\n", max_size=4))
def test_a_file_name_is_one_that_the_system_puts_into_the_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("names")
    made: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        os.close(os.open(f"{folder}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        made = [str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()]
    assert is_file_name(name) == (made == [name])


@pytest.mark.parametrize("value", [None, 1, b"a", ["a"]])
def test_what_is_no_text_is_no_file_name(value: object) -> None:
    assert not is_file_name(value)


def test_a_path_that_is_no_file_is_said_and_leaves_nothing_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/dev/fd")  # noqa: PTH208
    for path, why in ((tmp_path, "directory"), (tmp_path / "pipe", "not a regular file"), (tmp_path / "no", "no such")):
        with pytest.raises(FormatError, match=f"^it.*{why}"):
            read_small(path, 10, "it", "a file", FormatError)
    assert os.listdir("/dev/fd") == before  # noqa: PTH208
