"""What optimizers name after a weight, and what only looks like it."""

from __future__ import annotations

import pytest

from renorm_cli.conventions.slots import Slots
from renorm_cli.model.variable import Variable


def held(*named: tuple[str, tuple[int, ...]], known_only: bool = True) -> set[str]:
    variables = [Variable(name, name, shape, "float32") for name, shape in named]
    slots = Slots(variables, known_only=known_only)
    return {variable.name for variable in variables if slots.holds(variable)}


W = ("dense/kernel", (8, 6))


@pytest.mark.parametrize(
    "slot",
    [
        "Adam/m/dense/kernel",
        "Adam_1/v/dense/kernel",
        "SGD/m/dense/kernel",
        "train/Adam/vhat/dense/kernel",
        "RMSprop/velocity/dense/kernel",
        "my_optimizer/momentum/dense/kernel",
        "Adagrad/accumulator/dense/kernel",
        "Adam/average/dense/kernel",
        "Ftrl/linear/dense/kernel",
        "dense/kernel/Adam",
        "dense/kernel/Adam_1",
        "dense/kernel/Momentum",
        "dense/kernel/RMSProp_1",
        "training/Adam/dense/kernel/m",
        "dense/kernel_slot_v",
    ],
)
def test_a_slot_is_what_an_optimizer_names_after_a_weight_of_its_shape(slot: str) -> None:
    assert held(W, (slot, (8, 6))) == {slot}
    assert held((slot, (8, 6))) == set()
    if not slot.endswith("_slot_v"):  # statistics of rows have shapes of their own
        assert held(W, (slot, (8, 5))) == set()


@pytest.mark.parametrize("name", ["encoder/m/dense/kernel", "branch/linear/dense/kernel", "m/dense/kernel", "a/b"])
def test_a_word_that_a_model_can_use_tells_nothing_by_itself(name: str) -> None:
    assert held(W, (name, (8, 6))) == set()


def test_two_moments_under_any_name_tell_an_optimizer() -> None:
    moments = ("mine/m/dense/kernel", (8, 6)), ("mine/v/dense/kernel", (8, 6))
    assert held(W, *moments) == {name for name, _ in moments}


def test_statistics_of_rows_and_columns_have_shapes_of_their_own() -> None:
    assert held(("w", (8, 6)), ("w_slot_vr", (8,)), ("w_slot_vc", (6,)), ("x_slot_vr", (8,))) == {
        "w_slot_vr",
        "w_slot_vc",
    }


def test_a_name_of_many_parts_costs_no_more_than_its_length() -> None:
    deep = "m/" * 500_000 + "kernel"
    assert held(W, (deep, (8, 6))) == set()
