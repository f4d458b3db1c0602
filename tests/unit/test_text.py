"""Foreign text becomes one printable line; numbers are rounded once and read well."""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.text import (
    by_number,
    bytes_text,
    cells,
    count_text,
    distinct,
    exact_text,
    number_text,
    one_line,
    shape_text,
    shorten,
    show,
    sparkline,
)

ANY = st.text(st.characters(exclude_categories=()))
"""Every code point, lone surrogates included."""
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters=":#["), max_size=120)
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(ANY, st.integers(1, 200), st.booleans())
def test_whatever_is_shown_is_one_printable_line_within_the_limit(text: str, limit: int, ascii: bool) -> None:
    shown = show(text, limit, ascii=ascii)
    assert not {unicodedata.category(char) for char in shown} & HIDDEN
    assert shown.isprintable()
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    assert shown.isascii() or not ascii
    shown.encode("utf-8")  # no lone surrogate is left


@given(ANY, st.integers(20, 200))
def test_what_is_shown_once_is_shown_the_same_again(text: str, limit: int) -> None:
    assert show(show(text, limit), limit) == show(text, limit)


@given(PLAIN)
def test_plain_text_comes_back_as_it_is(text: str) -> None:
    assert show(text) == text
    assert one_line(text) == text


@pytest.mark.parametrize("category", sorted(HIDDEN))
def test_every_character_of_a_hidden_category_is_escaped_with_its_number(category: str) -> None:
    hidden = [char for char in map(chr, range(0x20000)) if unicodedata.category(char) == category]
    assert hidden
    assert all(show(char) == f"\\u{{{ord(char):x}}}" for char in hidden)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31mb", "a\\u{1b}[31mb"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "\\u{1b}]8;;http://x\\u{7}link\\u{1b}]8;;\\u{7}"),
        ("a\nb\r\tc\0", "a\\u{a}b\\u{d}\\u{9}c\\u{0}"),
        ("a\u202eb\u200bc\ufeff", "a\\u{202e}b\\u{200b}c\\u{feff}"),
        ("a\u3164\ufe0f\u00a0", "a\\u{3164}\\u{fe0f}\\u{a0}"),
        (b"a\xff\xfe".decode("utf-8", "surrogateescape"), "a\\u{dcff}\\u{dcfe}"),
        ("  ::error::x", "  \\u{3a}:error::x"),
        ("a ##[error]b ##vso[task]", "a ##\\u{5b}error]b ##vso\\u{5b}task]"),
        ("[red][/nope]:smile:", "[red][/nope]:smile:"),
        ("größe/核", "größe/核"),
    ],
)
def test_hostile_names_are_shown_for_what_they_are(name: str, shown: str) -> None:
    assert show(name) == shown


def test_long_names_keep_their_beginning_and_their_end() -> None:
    name = "encoder/" + "x" * 10_000_000 + "/kernel"
    assert show(name, 21) == "encoder/xx…xxx/kernel"
    assert show(name, 21, ascii=True) == "encoder/x...xx/kernel"
    assert show(name, None) == name
    assert len(show(name)) == 120


def test_a_message_is_one_line_of_at_most_500_characters() -> None:
    assert one_line("expected a file,\nfound 'a\x1b'") == "expected a file,\\u{a}found 'a\\u{1b}'"
    assert len(one_line("x" * 501)) == 500


@given(st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S"])), st.integers(0, 30))
def test_shortened_text_fits_its_cells(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cells(short) <= width
    assert len(short) <= width


@given(st.lists(st.text(st.sampled_from("ab/核"), min_size=1, max_size=60), unique=True), st.integers(12, 30))
def test_different_texts_stay_different_in_their_cells(texts: list[str], width: int) -> None:
    fitted = distinct(texts, [width] * len(texts))
    assert len({tuple(lines) for lines in fitted}) == len(texts)
    assert max((cells(line) for lines in fitted for line in lines), default=0) <= width


def test_of_texts_that_would_look_the_same_what_is_alike_is_cut_and_else_they_are_folded() -> None:
    layers = [f"encoder/layer_{number}/attention/self/query/kernel" for number in (1, 2)]
    assert distinct(layers, [24, 24]) == [["…/layer_1/a…query/kernel"], ["…/layer_2/a…query/kernel"]]
    blocks = [f"a{'x' * 20}{number}{'y' * 20}" for number in (1, 2)]
    assert distinct(blocks, [24, 24]) == [[f"a{'x' * 20}{number}yy", f"  {'y' * 18}"] for number in (1, 2)]
    assert distinct(["one/kernel", "one/kernel"], [8, 8]) == [["one…rnel"]] * 2


def test_numbers_in_names_are_sorted_by_their_values() -> None:
    assert sorted(["v/10", "v/2", "v/1"], key=by_number) == ["v/1", "v/2", "v/10"]


@given(st.text(st.sampled_from("aZ0_/é核심ｗ😀é")))
def test_cells_are_those_of_a_terminal(text: str) -> None:
    from rich.cells import cell_len

    assert cells(text) == cell_len(text)


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_norm_keeps_four_significant_digits(number: float) -> None:
    text = number_text(number)
    assert math.isclose(float(text), number, rel_tol=5.0001e-4)
    digits = text.partition("e")[0].replace(".", "").lstrip("0")
    assert len(digits) == 4


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (None, "-"),
        (1.0, "1.000"),
        (0.0123456, "0.01235"),
        (9.99996, "10.00"),
        (1234.5678, "1235"),
        (9999.6, "1.000e4"),
        (1.5e-5, "1.500e-5"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_norms_are_rounded_once_and_read_well(number: float | None, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(min_value=0, exclude_min=True))
def test_no_digit_of_a_limit_is_lost(limit: float) -> None:
    assert float(exact_text(limit)) == limit


@pytest.mark.parametrize(("limit", "text"), [(0.9, "0.9"), (2.0, "2"), (2, "2"), (math.inf, "inf"), (None, "-")])
def test_a_limit_is_written_as_the_user_types_it(limit: float | None, text: str) -> None:
    assert exact_text(limit) == text


def test_shapes_and_counts_read_well() -> None:
    assert shape_text((784, 200)) == "784x200"
    assert shape_text((784, 200), ascii=False) == "784\N{MULTIPLICATION SIGN}200"
    assert shape_text((7,)) == "7"
    assert shape_text(()) == "scalar"
    assert count_text(1234567) == "1,234,567"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1_234_567, "1.2 MiB"),
        (8 * 1024**3, "8.0 GiB"),
        (2**70, "1048576.0 PiB"),
    ],
)
def test_sizes_are_in_binary_units(count: int, text: str) -> None:
    assert bytes_text(count) == text


@given(st.lists(st.integers(0, 10**12), max_size=40), st.booleans())
def test_a_sparkline_has_a_mark_exactly_where_there_is_a_count(counts: list[int], ascii: bool) -> None:
    line = sparkline(counts, ascii)
    assert [char != " " for char in line] == [count > 0 for count in counts]
    assert line.isascii() or not ascii


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=40),
    st.sampled_from([(" .:-=+*#", True), (" ▁▂▃▄▅▆▇█", False)]),
)
def test_a_higher_count_never_has_a_lower_bar(counts: list[int], bars: tuple[str, bool]) -> None:
    heights = [bars[0].index(char) for char in sparkline(counts, bars[1])]
    ordered = sorted(zip(counts, heights, strict=True))
    assert [height for _, height in ordered] == sorted(heights)
    assert max(heights) == (len(bars[0]) - 1 if any(counts) else 0)


def test_the_sparkline_of_a_peak_shows_its_tail() -> None:
    assert sparkline([0, 1, 4, 16, 64, 16, 4, 1], False) == " ▁▂▄█▄▂▁"
    assert sparkline([], False) == ""
    assert sparkline([0, 0], True) == "  "
