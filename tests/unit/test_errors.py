"""What errors say where names are long: what to do is never cut."""

from __future__ import annotations

import pytest

from renorm_cli.errors import Way, as_keyword, some_names, worded
from renorm_cli.model.coverage import some_matrices

WAYS = (
    Way("units", "say the axes with {}", tuple(f"{letter * 60}=AXES" for letter in "abc")),
    Way("exclude", "leave them out with {}", tuple(letter * 60 for letter in "abc")),
    Way("allow_guess", "accept it", True),
)


def test_names_are_given_as_far_as_there_is_room() -> None:
    assert some_names(["a", "b", "c", "d"]) == "'a', 'b', 'c' and 1 more"
    assert some_names(["a" * 50, "b" * 50, "c" * 50]) == f"'{'a' * 50}', '{'b' * 50}' and 1 more"
    assert len(some_names(["a" * 10_000, "b"])) < 140
    assert some_names(["a"] * 2000) == "'a', 'a', 'a' and 1,997 more"
    assert some_matrices([("a" * 100, (3, 4)), ("b" * 100, (3, 4))], 14) == f"{'a' * 100} (3x4) and 13 more"


@pytest.mark.parametrize("length", [10, 200, 400, 10_000])
def test_what_to_do_is_said_whole_where_names_and_text_are_long(length: int) -> None:
    text = worded("t" * length, WAYS, as_keyword)
    assert len(text) <= 440
    for word in ("say the axes with units=", "leave them out with exclude=", "accept it with allow_guess=True"):
        assert word in text
    given = sum(f"'{letter * 60}=AXES'" in text for letter in "abc")
    assert text.count(", and so on") == (2 if 0 < given < 3 else 0)
    assert given == {10: 2, 200: 0}.get(length, 0)


def test_a_line_that_is_short_has_all_values() -> None:
    ways = [way._replace(value=way.value[:1]) if isinstance(way.value, tuple) else way for way in WAYS]
    assert worded("t", ways, as_keyword).count("a" * 60) == 2
    assert worded("t" * 1000, (), as_keyword) == "t" * 1000
