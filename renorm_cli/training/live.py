"""Describes the variables of live Keras layers like the variables of a file."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras

from renorm_cli.conventions.identify import unit_axes
from renorm_cli.conventions.keras.layers import LAYERS, canonical
from renorm_cli.model.variable import Hint, Variable


def check_backend() -> None:
    """Raise RuntimeError unless Keras runs on TensorFlow, because only then its variables are TensorFlow's."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Keras runs on {keras.backend.backend()}; renorm_cli.tf needs KERAS_BACKEND=tensorflow")


class Weight(NamedTuple):
    """A Keras variable of a model, described as `inspect` describes a file's.

    `trained` says whether training changes it, or what is in effect in its place. `otherwise` says why that is another
    weight, if it is.
    """

    described: Variable
    variable: Any
    trained: bool
    otherwise: str | None


def variables_of(model: Any) -> list[Weight]:
    """Every weight of the model.

    The name is the variable's path without the name of the model. If two share a name, their keys differ.
    """
    owners = _owners(model._flatten_layers())
    prefix = f"{model.name}/"
    trainable = {id(variable) for variable in model.trainable_weights}
    seen: Counter[str] = Counter()
    found: list[Weight] = []
    for variable in model.weights:
        name = variable.path.removeprefix(prefix)
        seen[name] += 1
        key = name if seen[name] == 1 else f"{name}#{seen[name]}"
        _, owner = owners.get(id(variable), (variable, None))
        adapters = _adapters(owner)
        trained = id(variable) in trainable or any(id(adapter) in trainable for adapter in adapters)
        otherwise = _otherwise(owner, adapters)
        found.append(Weight(_described(variable, name, key, owner), variable, trained, otherwise))
    return found


def _adapters(layer: Any | None) -> list[Any]:
    """The factors of LoRA that a layer adds to its kernel."""
    if not getattr(layer, "lora_enabled", False):
        return []
    return [variable for variable in layer.weights if variable.name.startswith("lora_")]  # type: ignore[union-attr]


def _otherwise(layer: Any | None, adapters: Sequence[Any]) -> str | None:
    """Why the kernel of a layer is not the weight in effect."""
    if adapters:
        return "LoRA adds the product of two factors to it"
    mode = getattr(layer, "quantization_mode", None)
    return None if mode is None else f"its layer is quantized ({mode})"


def unit_axes_of(variable: Any) -> tuple[int, ...] | None:
    """The axes that name the units of a Keras variable, from the layer that owns it; None if they are unknown.

    Keras gives a constraint the variable but not its layer, and a variable does not know its layer: its path holds
    names, which a user may choose. So the layer is searched among the instances of the classes whose weights are known,
    once for all constrained variables. Only they are listed: a reference to an object that another thread is making
    can break that thread, as a tuple of TensorFlow's that it is about to resize.
    """
    found = _OWNERS.get(id(variable))
    if found is None or found[0]() is not variable:
        found = _remember_owners(variable)
    owner = found[1]()
    axes, source = unit_axes(_described(variable, variable.path, variable.path, owner))
    return None if source == "guess" else axes


_Owner = tuple[weakref.ref[Any], Callable[[], Any | None]]
"""A constrained variable, and its layer if it has one."""

_OWNERS: dict[int, _Owner] = {}
"""By the id of the variable. Replicas look up in threads, so entries are only added or replaced."""


def _remember_owners(asked: Any) -> _Owner:
    classes = tuple(_classes(keras.layers.Layer))
    layers = [found for found in gc.get_referrers(*classes) if issubclass(type(found), classes)]
    owners = _owners(layers)
    for key in [key for key, found in list(_OWNERS.items()) if found[0]() is None]:
        _OWNERS.pop(key, None)
    for variable, owner in owners.values():
        if variable.constraint is not None:
            _OWNERS[id(variable)] = weakref.ref(variable), weakref.ref(owner)
    owner = owners[id(asked)][1] if id(asked) in owners else None
    found = _OWNERS[id(asked)] = weakref.ref(asked), (lambda: None) if owner is None else weakref.ref(owner)
    return found


def _classes(base: type[Any]) -> Iterator[type[Any]]:
    """The classes derived from `base` whose weights are known."""
    for derived in base.__subclasses__():
        if _known_class(derived) is not None:
            yield derived
        yield from _classes(derived)


def _owners(layers: Iterable[Any]) -> dict[int, tuple[Any, Any]]:
    """id of a variable -> the variable and the layer that created it (not layers that contain that layer)."""
    owners: dict[int, tuple[Any, Any]] = {}
    for layer in layers:
        for group in ("_trainable_variables", "_non_trainable_variables"):  # missing before a layer is initialized
            for variable in getattr(layer, group, ()):
                owners.setdefault(id(variable), (variable, layer))
    return owners


def _described(variable: Any, name: str, key: str, layer: Any | None) -> Variable:
    known = None if layer is None else _known_class(type(layer))
    equation = layer.equation if layer is not None and known == "EinsumDense" else None
    hint = Hint(layer=known, weight=variable.name, equation=equation)
    return Variable(name, key, tuple(variable.shape), str(variable.dtype), hint)


def _known_class(layer: type) -> str | None:
    """The Keras class, of those whose weights are known, that `layer` is or is derived from; None if there is none."""
    for ancestor in layer.__mro__:
        if ancestor.__module__.partition(".")[0] == "keras" and canonical(ancestor.__name__) in LAYERS:
            return canonical(ancestor.__name__)
    return None
