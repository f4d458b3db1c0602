"""What the weights of KerasHub's backbones are taken for, against the classes and equations of the live layers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest

from renorm_cli.conventions.identify import identify
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.keras.v3_names import name_variables
from renorm_cli.model.identity import BOUNDED
from renorm_cli.model.variable import Variable

DATA = Path(__file__).parents[3] / "data" / "names" / "kerashub.txt"


class Model(NamedTuple):
    """What a file of the model holds, and for each path the unit axes by its layer; None for what is no kernel."""

    survey: Survey
    units: dict[str, tuple[int, ...] | None]


def models() -> dict[str, Model]:
    found: dict[str, Model] = {}
    for block in DATA.read_text("utf-8").removeprefix("# ").split("\n# "):
        title, *lines = block.strip().split("\n")
        names = dict(line.split(" ")[1:] for line in lines if line.startswith("@"))
        rows = [line.split(" ") for line in lines if not line.startswith("@")]
        arrays = tuple(
            Dataset(path, tuple(int(length) for length in shape.split("x") if length), "float32")
            for path, shape, _ in rows
        )
        groups = frozenset(path.rsplit("/", n)[0] for path, _, _ in rows for n in range(1, path.count("/") + 1))
        units = {path: None if axes == "-" else tuple(map(int, axes.split(","))) for path, _, axes in rows}
        found[title] = Model(Survey(arrays, groups, names, {}, {}, {}), units)
    return found


MODELS = models()
OPEN = {
    "square Gemma": 3 * 8 * 8 * 16,  # query, key and value: as many heads as inputs
    "square Llama": 3 * 8 * 8,
}
"""Elements of kernels whose axes are a guess, as two readings fit."""


def identified(model: Model) -> list[Variable]:
    return list(identify(name_variables(model.survey, None).variables))


def without_names(model: Model) -> Model:
    """As Keras before 3.6 writes it: without the attribute `name`."""
    return model._replace(survey=model.survey._replace(names={}))


def wide(axes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis in axes if shape[axis] > 1)


@pytest.mark.parametrize("named", [True, False], ids=["with the names of layers", "without"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_certain_of_a_backbone_is_what_its_layers_do_and_little_is_open(name: str, named: bool) -> None:
    model = MODELS[name] if named else without_names(MODELS[name])
    right = guessed = every = 0
    for variable in identified(model):
        units, known = model.units[variable.key], variable.identity
        assert known is not None
        if units is None:
            assert len(variable.shape) < 2 or known.role not in BOUNDED, variable.name
            continue
        every += math.prod(variable.shape)
        assert known.role in BOUNDED, f"{variable.name}: not identified"
        if known.axis_source == "guess":
            guessed += math.prod(variable.shape)
        else:
            assert wide(known.unit_axes, variable.shape) == wide(units, variable.shape), variable.name
            right += math.prod(variable.shape)
    assert guessed == OPEN.get(name, 0)
    assert right == every - guessed


@pytest.mark.parametrize("name", MODELS)
def test_the_order_in_the_file_does_not_matter(name: str) -> None:
    model = MODELS[name]
    turned = Model(model.survey._replace(datasets=model.survey.datasets[::-1]), model.units)
    assert {one.key: one.identity for one in identified(turned)} == {one.key: one.identity for one in identified(model)}


def test_names_that_say_nothing_leave_a_lone_matrix_open() -> None:
    table = {"_feedforward": "_x", "token_embedding": "y"}
    model = without_names(MODELS["Llama"])
    arrays = []
    for one in model.survey.datasets:
        path = one.path
        for word, other in table.items():
            path = path.replace(word, other)
        arrays.append(one._replace(path=path))
    bare = Model(model.survey._replace(datasets=tuple(arrays)), {})
    roles = {one.key: one.identity.role for one in identified(bare) if one.identity is not None}
    lone = [key for key in roles if "_x" in key or "/y/" in key]
    assert lone
    assert {roles[key] for key in lone} == {"unknown"}
