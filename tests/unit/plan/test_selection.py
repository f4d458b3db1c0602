from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.errors import SelectionError
from renorm_cli.model.constraint import Selection
from renorm_cli.model.variable import Variable
from renorm_cli.plan.selection import Labels, named, names

NAMES = ("dense_1/kernel", "dense_1/bias", "dense_10/kernel", "enc/attn/query/kernel", "Dense/kernel")


def variables(*names: str) -> list[Variable]:
    return [Variable(name, f"layers/{number}/vars/0", (2, 2), "float32") for number, name in enumerate(names)]


def left(found: list[Variable], selection: Selection) -> set[str]:
    """Keys of the variables that the patterns leave."""
    told = names(found, selection)
    return {variable.key for variable in found if told.leaves(variable.key) is None}


def take(selection: Selection) -> list[str]:
    found = variables(*NAMES)
    keys = left(found, selection)
    return [variable.name for variable in found if variable.key in keys]


def test_without_patterns_nothing_is_left_out() -> None:
    assert take(Selection()) == list(NAMES)


def test_include_names_what_may_be_taken_and_exclude_takes_away() -> None:
    assert take(Selection(("*/bias",))) == ["dense_1/bias"]
    assert take(Selection((), ("dense_*",))) == ["enc/attn/query/kernel", "Dense/kernel"]
    assert take(Selection(("*kernel",), ("enc*", "Dense/*"))) == ["dense_1/kernel", "dense_10/kernel"]


def test_a_star_crosses_slashes_the_whole_name_must_match_and_case_counts() -> None:
    assert take(Selection(("enc*",))) == ["enc/attn/query/kernel"]
    assert take(Selection(("dense_1*",))) == ["dense_1/kernel", "dense_1/bias", "dense_10/kernel"]
    assert take(Selection(("[Dd]ense/kernel",))) == ["Dense/kernel"]
    with pytest.raises(SelectionError):
        take(Selection(("kernel",)))


@given(st.text("ab*?[]!/x", min_size=1, max_size=8))
def test_a_pattern_means_what_the_standard_library_says(pattern: str) -> None:
    names = ("a/b", "ab", "x/a/b", "[a]", "*", "a?x")
    found = variables(*names)
    expected = {v.key for v in found if fnmatch.fnmatchcase(v.name, pattern) or fnmatch.fnmatchcase(v.key, pattern)}
    if expected:
        assert left(found, Selection((pattern,))) == expected
    else:
        with pytest.raises(SelectionError):
            left(found, Selection((pattern,)))


def test_the_storage_key_and_an_alias_match_as_well() -> None:
    assert take(Selection(("layers/3/*",))) == ["enc/attn/query/kernel"]
    linked = [Variable("a/kernel", "a", (1, 1), "float32", aliases=("tied/kernel",))]
    assert left(linked, Selection(("tied/*",))) == {"a"}


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_names_the_closest(option: str) -> None:
    with pytest.raises(
        SelectionError, match=rf"{option} 'dense_1/kernal' matches none of the 5 variables; closest: 'dense_1/kernel'"
    ):
        take(Selection(**{option: ("dense_1/kernal",)}))


def test_a_name_with_wildcards_in_it_is_told_as_it_is() -> None:
    with pytest.raises(SelectionError, match=r"include 'hidden/\*' matches none"):
        take(Selection(("hidden/[*]",)))


def test_stored_copies_of_one_weight_are_selected_together() -> None:
    copies = [
        Variable("shared/kernel", "a", (1, 1), "float32", copies=("b",)),
        Variable("shared/kernel", "b", (1, 1), "float32", copies=("a",)),
        Variable("other/kernel", "c", (1, 1), "float32"),
    ]
    assert left(copies, Selection(("b",))) == {"a", "b"}
    assert left(copies, Selection((), ("a",))) == {"c"}
    assert named(copies[1], ("b",))
    assert not named(copies[0], ("b",))


def test_a_name_of_a_megabyte_never_matches_and_costs_nothing() -> None:
    found = [Variable("a" * 1_000_000, "k" * 1_000_000, (1,), "float32"), *variables("b")]
    with pytest.raises(SelectionError):
        left(found, Selection(("*a*a*a*a*b*c",)))


def test_only_a_pattern_without_wildcards_that_names_one_weight_names_it_alone() -> None:
    found = [
        *variables("a/w", "b/w", "b/w", "c[0]"),
        Variable("shared", "x", (2, 2), "float32", copies=("y",)),
        Variable("shared", "y", (2, 2), "float32", copies=("x",)),
    ]

    def alone(*patterns: str) -> set[str]:
        return set(Labels(found).matched(patterns, "include").alone)

    assert alone("a/w") == alone("layers/0/vars/0") == {"layers/0/vars/0"}
    assert alone("a/*") == alone("a/[w]") == alone("*") == alone("b/w") == set()
    assert alone("c[[]0]") == {"layers/3/vars/0"}
    assert alone("shared") == alone("x") == {"x", "y"}
    assert alone("*", "a/w") == {"layers/0/vars/0"}
