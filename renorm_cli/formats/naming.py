"""Names for stored arrays: what all formats share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from renorm_cli.conventions.keras.layers import PARTS, ROLES, class_from_name, find_weight
from renorm_cli.errors import some_names
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Hint, Variable

PART_NAMES = frozenset(name for parts in PARTS.values() for name in parts.values())
"""The names, in Keras' paths, of parts that belong to their layer."""


class Naming(NamedTuple):
    """The variables of a file under unique names, in the order to report.

    `twins` are tuples of keys that hold the same weight, if their bytes prove equal (`join_copies`).
    """

    variables: tuple[Variable, ...]
    twins: tuple[tuple[str, ...], ...] = ()
    notes: tuple[Note, ...] = ()


def join_copies(naming: Naming, equal: Callable[[Variable, Variable], bool]) -> tuple[Variable, ...]:
    """The variables, with proven twins under the name of the first of them and the others' keys as their `copies`.

    `equal` says whether two stored arrays have the same bytes. Twins from the same groups of the file are one layer:
    they are joined only if all are equal, so that two layers are not taken for one because both biases are zero.
    Arrays that may be twins are read for it while a checkpoint is opened: what is one variable must be known before
    variables are listed, named and selected.
    """
    by_key = {variable.key: variable for variable in naming.variables}
    bundles: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for twin in naming.twins:
        bundles.setdefault(tuple(key.rpartition("/")[0] for key in twin), []).append(twin)
    for bundle in bundles.values():
        if all(equal(by_key[twin[0]], by_key[key]) for twin in bundle for key in twin[1:]):
            for twin in bundle:
                _join(by_key, twin)
    return tuple(by_key[variable.key] for variable in naming.variables)


def _join(by_key: dict[str, Variable], twin: tuple[str, ...]) -> None:
    name = by_key[twin[0]].name
    declared = next((by_key[key].declared for key in twin if by_key[key].declared is not None), None)
    for key in twin:
        variable = by_key[key]
        aliases = variable.aliases if variable.name == name else (*variable.aliases, variable.name)
        copies = tuple(other for other in twin if other != key)
        by_key[key] = replace(
            variable, name=name, aliases=aliases, copies=copies, declared=variable.declared or declared
        )


def unique_names(variables: Iterable[Variable], qualified: Callable[[Variable], str]) -> tuple[Variable, ...]:
    """The variables with those that share a name renamed: to what `qualified` says; if that is shared too, to keys."""
    named = list(variables)
    count = Counter(variable.name for variable in named)
    named = [
        variable if count[variable.name] == 1 else replace(variable, name=qualified(variable)) for variable in named
    ]
    count = Counter(variable.name for variable in named)
    keys = {variable.key for variable in named}
    return tuple(
        replace(variable, name=variable.key)
        if variable.name != variable.key and (count[variable.name] > 1 or variable.name in keys)
        else variable
        for variable in named
    )


def plain_name(path: str) -> str:
    """The path without the ":0" that TensorFlow puts behind names of variables."""
    return re.sub(r"(?<=[^/]):[0-9]+\Z", "", path) if ":" in path else path


def from_names(variable: Variable, path: str) -> Variable:
    """The variable with the layer and weight that default names in its path tell: "a/conv2d_3/kernel" is a Conv2D's."""
    *parents, weight = path.split("/")
    layer = class_from_name(parents[-1]) if parents else None
    if parents and parents[-1] in PART_NAMES:
        weight = f"{parents[-1]}/{weight}"
        layer = layer or (class_from_name(parents[-2]) if len(parents) > 1 else None)
    known = find_weight(layer, weight) if layer is not None else None
    if known is None or not known.fits(variable.shape):
        layer = None
    return replace(variable, hint=Hint(layer=layer, source="name", weight=weight))


def lora_notes(variables: Sequence[Variable]) -> tuple[Note, ...]:
    """A warning where LoRA updates are stored beside their kernels."""
    bases = {
        f"{variable.name.rpartition('/')[0]}/{'embeddings' if 'embeddings' in variable.hint.weight else 'kernel'}": None
        for variable in variables
        if variable.hint.weight is not None and ROLES.get(variable.hint.weight) == "lora"
    }
    if not bases:
        return ()
    text = "the file keeps a LoRA update beside it, so bounding it does not bound the weight in effect"
    return (Note(f"{some_names(list(bases))}: {text} (kernel + a @ b); merge the update first", warning=True),)


def normalization_notes(variables: Sequence[Variable]) -> tuple[Note, ...]:
    """A warning where a layer normalizes the kernel of the one that it wraps."""
    wrappers = {one.name.rpartition("/")[0]: None for one in variables if one.hint.layer == "SpectralNormalization"}
    return spectral_notes(list(wrappers))


def spectral_notes(layers: Sequence[str]) -> tuple[Note, ...]:
    """A warning of layers that normalize kernels, if there are any."""
    if not layers:
        return ()
    text = "the layer divides its kernel by its spectral norm in every training step, so a bound holds until then"
    return (Note(f"{some_names(layers)}: {text}", warning=True),)
