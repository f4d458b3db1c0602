"""Arguments of a wrong kind are usage errors of one line that name the parameter, for every parameter of every verb."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.places import SAMPLES

from renorm_cli.api import verbs
from renorm_cli.api.keywords import KINDS, checked
from renorm_cli.errors import OutputError, UsageError

DENSE = str(SAMPLES / "dense.h5")
VERBS = ("apply", "check", "diff", "inspect", "open", "suggest")

FIT_NOTHING: list[Any] = [
    object(),
    1j,
    b"model.h5",
    bytearray(3),
    lambda: 1,
    float,
    {1: 2},
    np.zeros((3, 4)),
    [object()],
]
"""Values that no parameter takes; some parameters take any function, and some any iterable."""

FITS_NOT: dict[str, list[Any]] = {
    "PathLike": [None, 3, "", ["model.h5"], ("a", "b"), True],
    "bool": [None, 0, 1, "no", "False", [], np.zeros(1)],
    "float": ["1.5", "inf", "much", True, [1.0], 10**400],
    "int": ["2", 1.5, True, [2]],
    "Patterns": [None, 3, 0.5, True],
    "Units": [None, 0.5],
    "Dtypes": [None, 2, 0.5],
    "Roles": [3, 0.5, True],
    "Meter": [None, 3, "bar"],
    "Per": [None, 2, "layer", ["unit"], np.array(["unit", "tensor"])],
    "Engine": [None, 3, "torch"],
    "Device": [None, 0, "tpu"],
}


def parameters() -> Iterator[tuple[str, str, str]]:
    for verb in VERBS:
        for name, parameter in inspect.signature(getattr(verbs, verb)).parameters.items():
            yield verb, name, parameter.annotation


def given(verb: str, name: str, value: Any) -> None:
    """Call a verb with this value for one of its parameters."""
    needed = [
        one for one, how in inspect.signature(getattr(verbs, verb)).parameters.items() if how.default is how.empty
    ]
    getattr(verbs, verb)(**{**dict.fromkeys(needed, DENSE), name: value})


@pytest.mark.parametrize(("verb", "name", "annotation"), list(parameters()))
def test_what_is_of_no_kind_that_a_parameter_takes_is_a_usage_error_that_names_it(
    verb: str, name: str, annotation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = annotation.split(" | ")
    wrong = [value for value in FIT_NOTHING if not (name in ("companions", "workers") and callable(value))]
    if {"Patterns", "Units", "Roles", "Dtypes"} & set(kinds):
        wrong = [value for value in wrong if isinstance(value, bytes) or not hasattr(value, "__iter__")]
    if len(kinds) == 1 or kinds[1:] == ["None"]:
        wrong += [value for value in FITS_NOT.get(kinds[0], []) if value is not None or len(kinds) == 1]
    assert len(wrong) > 3
    for value in wrong:
        with pytest.raises(UsageError) as error:
            given(verb, name, value)
        assert str(error.value).startswith(f"{name} is "), value
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 250
    assert list(tmp_path.iterdir()) == []


def test_every_part_of_an_annotation_is_a_kind_that_is_checked() -> None:
    used = {kind for _, _, annotation in parameters() for kind in annotation.split(" | ")}
    assert used == set(KINDS)


@pytest.mark.parametrize("name", ["include", "exclude"])
def test_items_that_are_no_patterns_are_a_usage_error(name: str) -> None:
    for items in ([3], [None], iter([b"*"]), np.zeros((2, 2))):
        with pytest.raises(UsageError, match=f"{name} is a pattern or several, got .*") as error:
            given("inspect", name, items)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("units", [True, False, [True], (0, False), {"*": True}, {"*": [False]}])
def test_a_bool_is_no_axis(units: Any) -> None:
    with pytest.raises(UsageError, match=r"the units are auto or axes such as -1 or 0,1, got .*(True|False)"):
        verbs.inspect(DENSE, units=units)


@pytest.mark.parametrize("key", [3, None, b"*", object()])
def test_axes_by_what_is_no_pattern_are_a_usage_error(key: Any) -> None:
    with pytest.raises(UsageError, match="units is a pattern or several, got "):
        verbs.inspect(DENSE, units={"hidden/*": -1, key: -1})


@pytest.mark.parametrize("given", ["layer", "kernel,layer", ["kernel", 3], "", [], np.zeros((2, 2))])
def test_what_is_no_role_is_a_usage_error_that_lists_them(given: Any) -> None:
    with pytest.raises(UsageError, match=r"^role is one of kernel, embedding, bias, .*, or several, got "):
        verbs.inspect(DENSE, role=given)


def test_numbers_of_any_library_are_numbers() -> None:
    expected = verbs.inspect(DENSE, max_norm=1.5, p=1.0, jobs=2)
    for number, count in ((np.float32, np.int8), (np.array, np.array), (Fraction, int), (np.float64, np.uint64)):
        assert verbs.inspect(DENSE, max_norm=number(1.5), p=number(1), jobs=count(2)) == expected


def test_an_iterator_is_read_once() -> None:
    expected = verbs.inspect(DENSE, include=["hidden/*", "*/bias"], units=[-1])
    assert verbs.inspect(DENSE, include=iter(["hidden/*", "*/bias"]), units=iter([-1])) == expected


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 4000, "x" * 300 + "/out.h5"])
def test_a_name_that_no_file_can_have_is_an_output_error(name: str) -> None:
    for call in (lambda: verbs.apply(DENSE, name, max_norm=1), lambda: verbs.suggest(DENSE, output=name)):
        with pytest.raises(OutputError, match=r"cannot be written: .*; give another with output="):
            call()


def test_a_checked_function_is_called_as_it_was() -> None:
    def verb(checkpoint: str, *, strict: bool = False) -> tuple[str, bool]:
        """What it does."""
        return checkpoint, strict

    verb.__annotations__.update(checkpoint="PathLike", strict="bool")
    call = checked(verb)
    assert call("a") == ("a", False)
    assert call(strict=True, checkpoint="a") == ("a", True)
    assert call.__doc__ == verb.__doc__
    assert inspect.signature(call) == inspect.signature(verb)
    with pytest.raises(TypeError):
        call()  # type: ignore[call-arg]
