"""Names for plain HDF5 files: their paths."""

from __future__ import annotations

from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.naming import Naming, by_number, from_names, plain_name, unique_names
from renorm_cli.model.variable import Variable


def variable_of(dataset: Dataset, name: str) -> Variable:
    """A variable that only its name tells of."""
    return Variable(name, dataset.path, dataset.shape, dataset.dtype, locked=dataset.locked, aliases=dataset.links)


def name_plainly(survey: Survey) -> Naming:
    """Names for an HDF5 file of any writer: its paths; layers and weights as far as default Keras names tell them."""
    datasets = sorted(survey.datasets, key=lambda dataset: by_number(dataset.path))
    named = [
        from_names(variable_of(dataset, plain_name(dataset.path)), plain_name(dataset.path)) for dataset in datasets
    ]
    return Naming(unique_names(named, lambda variable: variable.key))
