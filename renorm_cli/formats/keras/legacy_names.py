"""Names for Keras' legacy HDF5 layout, whole models and weights alone.

Layout (keras.src.legacy.saving.legacy_h5_format): one group per top-level layer, listed in the attribute `layer_names`;
in it, datasets under the paths that its attribute `weight_names` lists, in loading order. Keras 2 writes the variable's
TensorFlow name ("dense/kernel:0"), Keras 3 its path ("model/dense/kernel").
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from renorm_cli.conventions.keras.layers import QUANTIZED_NAMES
from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.naming import is_inside, optimizer_groups, variable_of, with_optimizers
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.keras.config import LayerNode
from renorm_cli.formats.keras.layers import Layers
from renorm_cli.formats.naming import Naming, from_names, lora_notes, normalization_notes, plain_name, unique_names
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.variable import Variable
from renorm_cli.text import by_number

_TOP_LEVEL = "top_level_model_weights"


class _Listed(NamedTuple):
    """A dataset as its layer lists it."""

    layer: str
    weight: str
    dataset: Dataset


def name_variables(survey: Survey, config: LayerNode | None, root: str) -> Naming:
    """Names, layers and weights of a legacy file; `root` is "model_weights", or "" where the file holds weights alone.

    Names are the layer's name and the weight's, without ":0" and without a name said twice. A layer that is shared is
    stored once per top-level layer that contains it: such copies are twins. Raises FormatError where `layer_names` or
    `weight_names` name what is not there.
    """
    listed = _listed(survey, root)
    layers = Layers(config, ((item.layer, plain_name(item.weight).split("/")) for item in listed))
    variables = [_variable(item, layers) for item in listed]
    taken = {item.dataset.path for item in listed}
    rest = sorted((item for item in survey.datasets if item.path not in taken), key=lambda item: by_number(item.path))
    owners = frozenset(survey.layer_names.get(root, ()))
    optimizers = optimizer_groups(survey)
    for dataset in rest:
        owner = None if is_inside(dataset.path, optimizers) else _owner(dataset.path, owners, root)
        item = None if owner is None else _Listed(owner, dataset.path[len(_join(root, owner)) + 1 :], dataset)
        variables.append(_unlisted(dataset) if item is None else _variable(item, layers))
    named = unique_names(with_optimizers(_with_quantized(variables), survey), _qualified)
    return Naming(named, _twins(listed), (*lora_notes(named), *normalization_notes(named)))


def _qualified(variable: Variable) -> str:
    """The name with the models around it, else the path in the file."""
    models = [alias for alias in variable.aliases if alias.endswith(f"/{variable.name}")]
    return models[0] if models else plain_name(variable.key)


def _listed(survey: Survey, root: str) -> list[_Listed]:
    """What the layers list, in their order; a dataset that two layers list is of the one with the longer name."""
    datasets = {path: dataset for dataset in survey.datasets for path in (*dataset.links, dataset.path)}
    found: dict[str, _Listed] = {}
    top = (_TOP_LEVEL,) if _join(root, _TOP_LEVEL) in survey.groups else ()
    for layer in (*survey.layer_names.get(root, ()), *top):
        group = _join(root, layer)
        if group not in survey.groups:
            if group in survey.soft_links:
                continue
            raise FormatError(f"layer_names lists {layer!r}, but the file has no group {group!r}; it is damaged")
        for weight in survey.weight_names.get(group, ()):
            path = _join(group, weight)
            dataset = datasets.get(path)
            if dataset is None:
                if path in survey.soft_links:
                    continue
                raise FormatError(
                    f"weight_names of layer {layer!r} lists {weight!r}, but the file has no dataset {path!r};"
                    " it is damaged"
                )
            before = found.get(dataset.path)
            if before is None or len(before.layer) < len(layer):
                found[dataset.path] = _Listed(layer, weight, dataset)
    return list(found.values())


def _join(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name


def _owner(path: str, layers: frozenset[str], root: str) -> str | None:
    """The layer, of the longest name, whose group the dataset is in though no list names it."""
    if root and not path.startswith(f"{root}/"):
        return None
    inner = path[len(root) + 1 :] if root else path
    head = inner.rpartition("/")[0]
    while head:
        if head in layers:
            return head
        head = head.rpartition("/")[0]
    return None


def _unlisted(dataset: Dataset) -> Variable:
    name = plain_name(dataset.path)
    return from_names(variable_of(dataset, name), name)


def _friendly(layer: str, weight: str) -> str:
    """The layer's name and the weight's path inside it.

    Keras 3 paths can begin with the model's name, Keras 2 names with the layer's name and a number that TensorFlow adds
    where a model was loaded twice ("conv2d_1_1/kernel:0").
    """
    parts = plain_name(weight).split("/")
    if layer == _TOP_LEVEL:
        return "/".join(parts)
    own = layer.split("/")
    for start in (0, 1):
        inside = parts[start + len(own) :]
        if inside and _same_name(parts[start : start + len(own)], own, numbered=start == 0):
            return "/".join((*own, *inside))
    return "/".join((*own, *parts))


def _same_name(parts: list[str], own: list[str], *, numbered: bool) -> bool:
    if parts == own:
        return True
    return numbered and parts[:-1] == own[:-1] and re.fullmatch(re.escape(own[-1]) + r"_[0-9]+", parts[-1]) is not None


def _variable(item: _Listed, layers: Layers) -> Variable:
    name = _friendly(item.layer, item.weight)
    variable = variable_of(item.dataset, name)
    if item.layer == _TOP_LEVEL:
        return from_names(variable, name)
    inside = name[len(item.layer) + 1 :]
    told = layers.tell(variable, item.layer, inside.split("/"))
    if "/" not in inside or plain_name(item.weight) != inside:
        return told
    # Layers of a functional model are built before it: its name is in no path of theirs.
    names = (inside, name) if layers.is_functional(item.layer) else (name, inside)
    return replace(told, name=names[0], aliases=(*told.aliases, names[1]))


def _with_quantized(variables: list[Variable]) -> list[Variable]:
    """Mark all weights of a layer that stores integers for its kernel, or weights only quantized layers have."""
    quantized: set[str] = set()
    for variable in variables:
        group, _, weight = variable.key.rpartition("/")
        weight = plain_name(weight)
        integer = variable.dtype not in FLOATS and weight in ("kernel", "embeddings", "reverse_embeddings")
        only = weight in QUANTIZED_NAMES and variable.layer != "RandomFourierFeatures"
        if variable.state is None and (integer or only):
            quantized.add(group)
    return [
        replace(variable, state="quantized")
        if variable.state is None and variable.key.rpartition("/")[0] in quantized
        else variable
        for variable in variables
    ]


def _twins(listed: list[_Listed]) -> tuple[tuple[str, ...], ...]:
    """Weights that several top-level layers list under one name: one shared layer, or two layers of one name."""
    alike: dict[tuple[str, tuple[int, ...], str], dict[str, str]] = {}
    for item in listed:
        if item.dataset.dtype in FLOATS and item.layer != _TOP_LEVEL:
            kind = (item.weight, item.dataset.shape, item.dataset.dtype)
            alike.setdefault(kind, {}).setdefault(item.layer, item.dataset.path)
    return tuple(tuple(keys.values()) for keys in alike.values() if len(keys) > 1)
