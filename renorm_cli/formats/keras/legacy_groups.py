"""Names for HDF5 files in which groups hold models in Keras' legacy layout, each with attributes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.naming import variable_of, with_optimizers
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.keras import legacy_names
from renorm_cli.formats.keras.config import parse_config
from renorm_cli.formats.naming import Naming, from_names, plain_name, unique_names
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.text import by_number


def name_variables(survey: Survey, roots: Mapping[str, str], shown: str) -> Naming:
    """The variables of all models, under the path of their group and the name they have in it, and all others.

    `roots` maps the path of each model's group to that of its weights. The path in the file stays an alias. A group
    whose attributes name what is not in it holds no model.
    """
    variables: list[Variable] = []
    twins: list[tuple[str, ...]] = []
    notes: list[Note] = []
    parts = _parts(survey, roots)
    others = list(parts.pop("", survey._replace(datasets=())).datasets)
    for model, part in parts.items():
        text = survey.model_configs.get(model)
        try:
            config = None if text is None else parse_config(text, f"{shown}: model_config of the group {model!r}")
            naming = legacy_names.name_variables(part, config, roots[model])
        except FormatError:
            others += part.datasets
            continue
        variables += (_in_group(variable, model) for variable in naming.variables)
        twins += naming.twins
        notes += naming.notes
    others.sort(key=lambda dataset: by_number(dataset.path))
    plain = [from_names(variable_of(one, plain_name(one.path)), plain_name(one.path)) for one in others]
    named = unique_names((*variables, *with_optimizers(plain, survey)), lambda variable: plain_name(variable.key))
    return Naming(named, tuple(twins), tuple(notes))


def _parts(survey: Survey, roots: Mapping[str, str]) -> dict[str, Survey]:
    """What each model's group holds, and what is in none under "": also what is linked into several."""
    datasets: dict[str, list[Dataset]] = {}
    groups: dict[str, list[str]] = {}
    for dataset in survey.datasets:
        models = {_model_of(path, roots) for path in (dataset.path, *dataset.links)}
        datasets.setdefault(models.pop() if len(models) == 1 else "", []).append(dataset)
    for group in survey.groups:
        groups.setdefault(_model_of(f"{group}/", roots), []).append(group)
    return {
        model: survey._replace(datasets=tuple(found), groups=frozenset(groups.get(model, ())))
        for model, found in datasets.items()
    }


def _model_of(path: str, roots: Mapping[str, str]) -> str:
    """The model whose group the path is in; "" for none."""
    at = path.find("/")
    while at >= 0:
        if path[:at] in roots:
            return path[:at]
        at = path.find("/", at + 1)
    return ""


def _in_group(variable: Variable, model: str) -> Variable:
    own = variable.name
    name = own if own.startswith(f"{model}/") else f"{model}/{own}"
    path = plain_name(variable.key)
    aliases = (*variable.aliases, path) if path != name and path not in variable.aliases else variable.aliases
    return replace(variable, name=name, aliases=aliases)
