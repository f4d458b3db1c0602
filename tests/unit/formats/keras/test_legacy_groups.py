"""Models in groups of one HDF5 file: their names, and what makes a group no model."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import renorm_cli
from renorm_cli.conventions.identify import identify

NAMES = ("a/dense/kernel", "b/dense/kernel")


def model(group: h5py.Group, layers: tuple[str, ...] = ("dense",)) -> None:
    group.attrs["layer_names"] = [layer.encode() for layer in layers]
    dense = group.create_group("dense")
    dense.attrs["weight_names"] = [b"dense/kernel:0"]
    dense["dense/kernel:0"] = np.ones((2, 3), np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for name in "ab":
            model(file.create_group(name))
        file["other/table"] = np.ones((2, 3), np.float32)
    return tmp_path / "m.h5"


def names(path: Path) -> tuple[str, ...]:
    with renorm_cli.open(path) as checkpoint:
        return tuple(variable.name for variable in checkpoint.variables)


def test_names_are_the_groups_and_those_in_it_and_paths_are_aliases(path: Path) -> None:
    with renorm_cli.open(path) as checkpoint:
        assert [one.name for one in checkpoint.variables] == [*NAMES, "other/table"]
        assert [one.aliases for one in checkpoint.variables] == [
            ("a/dense/dense/kernel",),
            ("b/dense/dense/kernel",),
            (),
        ]


def test_a_group_whose_list_names_what_is_not_there_holds_no_model(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["b"].attrs["layer_names"] = [b"dense", b"gone"]
    assert names(path) == ("a/dense/kernel", "b/dense/dense/kernel", "other/table")


@pytest.mark.parametrize("text", ["{", "[" * 999, '{"class_name": 3}', "[]"])
def test_a_config_that_is_none_costs_the_group_its_config_alone(path: Path, text: str) -> None:
    with h5py.File(path, "a") as file:
        file["b"].attrs["model_config"] = text
    assert len(names(path)) == 3


def test_an_array_linked_into_two_models_is_listed_once(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["b/dense/dense/kernel:0"]
        file["b/dense/dense/kernel:0"] = file["a/dense/dense/kernel:0"]
    assert sorted(names(path)) == ["a/dense/dense/kernel", "other/table"]


def test_a_model_in_the_group_of_another_is_part_of_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        model(file.create_group("a"))
        model(file["a"].create_group("inner"))
    assert names(tmp_path / "m.h5") == ("a/dense/kernel", "a/inner/dense/dense/kernel")


def test_optimizer_state_in_a_models_group_is_not_taken_for_weights(path: Path) -> None:
    with h5py.File(path, "a") as file:
        state = file.create_group("a/optimizer_weights")
        state.attrs["weight_names"] = [b"adam/dense/kernel/m:0"]
        state["adam/dense/kernel/m:0"] = np.ones((2, 3), np.float32)
    with renorm_cli.open(path) as checkpoint:
        roles = {one.key: one.identity.role for one in identify(checkpoint.variables) if one.identity is not None}
    assert roles.pop("a/optimizer_weights/adam/dense/kernel/m:0") == "optimizer"
    assert sorted(roles.values()) == ["kernel", "kernel", "unknown"]
