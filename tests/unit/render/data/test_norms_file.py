"""Unit norms as `.npz`: NumPy reads them back, whatever the names are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_maker import ANY, HOSTILE, a_row

from renorm_cli.model.plan import Step
from renorm_cli.render.data.norms_file import NAME_LIMIT, array_names, render_norms


def written(names: list[str]) -> bytes:
    """The file of variables of 8 units, whose norms are the number of the variable and up."""
    rows = [a_row(name, key=f"key {number}") for number, name in enumerate(names)]
    numbers = {row.step.variable.key: number for number, row in enumerate(rows)}

    def parts(step: Step) -> list[np.ndarray]:
        norms = numbers[step.variable.key] + np.arange(8.0)
        return [norms[:5], norms[5:]]

    return b"".join(render_norms(rows, parts))


def loaded(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        assert len(set(file.files)) == len(file.files)
        return {name: file[name] for name in file.files}


def test_numpy_reads_an_array_by_the_name_of_its_variable_in_the_shape_of_the_unit_grid() -> None:
    found = loaded(written(["dense/kernel", "dense_1/kernel:0", "größe"]))
    assert list(found) == ["dense/kernel", "dense_1/kernel:0", "größe"]
    for number, norms in enumerate(found.values()):
        np.testing.assert_array_equal(norms, number + np.arange(8.0).reshape(1, 8))
        assert norms.dtype == np.float64


@given(st.lists(ANY | st.sampled_from([*HOSTILE, "a", "a.npy", "a.npy.npy", "..", "../a", "/a", "a//b", "~1", "a~2"])))
def test_every_variable_is_read_back_in_its_place_under_a_name_that_is_safe_for_a_file(names: list[str]) -> None:
    content = written(names)
    found = loaded(content)
    assert [int(norms[0, 0]) for norms in found.values()] == list(range(len(names)))
    for name in found:
        assert name.isprintable()
        assert not set(name) & set('\\"*?<>|')
        assert not {"", ".", ".."} & set(f"{name}.npy".split("/"))
        assert len(name.encode()) <= NAME_LIMIT
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{name}.npy" for name in found]


@given(st.lists(ANY.filter(lambda name: 0 < len(name) < 16), unique=True))
def test_a_short_name_of_its_own_is_what_percent_signs_are_taken_back_to(names: list[str]) -> None:
    for name, made in zip(names, array_names(names), strict=True):
        if not any("\ud800" <= char <= "\udfff" for char in name):
            assert unquote(made) == name


def test_names_that_are_there_already_are_too_long_or_empty_end_with_their_number() -> None:
    made = array_names(["a", "a", "", "n" * 1000, "a~1"])
    assert made == ["a", "a~1", "~2", "n" * 198 + "~3", "a%7E1"]


def test_the_parts_of_a_large_array_are_handed_on_as_they_come() -> None:
    taken = 0

    def parts(step: Step) -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(8):
            taken += 1
            yield np.zeros(1)

    next(render_norms([a_row("w")], parts))
    assert taken == 1


@pytest.mark.slow
def test_more_arrays_than_a_plain_zip_can_hold_are_read_back() -> None:
    count = 70_000
    rows = [a_row(f"v{number}") for number in range(count)]
    content = b"".join(render_norms(rows, lambda step: [np.zeros(8)]))
    with np.load(io.BytesIO(content)) as file:
        assert len(file.files) == count
        assert file[f"v{count - 1}"].shape == (1, 8)
