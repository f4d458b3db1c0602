"""Names for plain HDF5 files: their paths."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from renorm_cli.conventions.slots import Slots
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.naming import Naming, from_names, plain_name, unique_names
from renorm_cli.model.variable import Variable
from renorm_cli.text import by_number

_OPTIMIZER = "optimizer_weights"


def variable_of(dataset: Dataset, name: str) -> Variable:
    """A variable that only its name tells of."""
    return Variable(
        name,
        dataset.path,
        dataset.shape,
        dataset.dtype,
        locked=dataset.locked,
        aliases=dataset.links,
        untold=dataset.untold,
    )


def name_plainly(survey: Survey) -> Naming:
    """Names for an HDF5 file of any writer: its paths; layers and weights as far as default Keras names tell them."""
    datasets = sorted(survey.datasets, key=lambda dataset: by_number(dataset.path))
    named = [
        from_names(variable_of(dataset, plain_name(dataset.path)), plain_name(dataset.path)) for dataset in datasets
    ]
    return Naming(unique_names(with_optimizers(named, survey), lambda variable: variable.key))


def with_optimizers(variables: Iterable[Variable], survey: Survey) -> list[Variable]:
    """The variables, with the state of optimizers marked: by Keras' groups for it, and by names of slots."""
    named = list(variables)
    groups = optimizer_groups(survey)
    slots = Slots(named, known_only=True)
    return [
        replace(variable, state="optimizer")
        if variable.state is None and (is_inside(variable.key, groups) or slots.holds(variable))
        else variable
        for variable in named
    ]


def optimizer_groups(survey: Survey) -> frozenset[str]:
    """The groups that Keras writes optimizers to: at the top, beside a model's weights, or with a list of weights."""
    found = (path for path in survey.groups if path.rpartition("/")[2] == _OPTIMIZER)
    return frozenset(
        path
        for path in found
        if path == _OPTIMIZER
        or f"{path.removesuffix(_OPTIMIZER)}model_weights" in survey.groups
        or path in survey.weight_names
    )


def is_inside(path: str, groups: Container[str]) -> bool:
    """Whether a path is inside one of the groups."""
    at = path.find("/")
    while at >= 0:
        if path[:at] in groups:
            return True
        at = path.find("/", at + 1)
    return False
