"""Models of many layer variants, and what their live layer objects say of each weight: by class and by equation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from support import graph_zoo, keras_zoo

from zoo.judge import Truth

Owned = tuple[Any, str, Any]
"""A layer, the attribute under which it holds a variable, and the variable."""

_TABLES = ("embeddings", "_embeddings")
_KERNELS = ("kernel", "_kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "reverse_embeddings")
_VECTORS = {"bias": "bias", "_bias": "bias", "beta": "bias", "gamma": "scale", "scale": "scale", "alpha": "scale"}
_OTHERS = {
    "moving_mean": "statistic",
    "moving_variance": "statistic",
    "vector_u": "state",
    "u": "state",
    "concat_score_weight": "scale",
}


def truth(layer: Any, attribute: str, rank: int) -> Truth:
    """What a weight is by Keras' documentation of the class that holds it, or by the equation of the layer."""
    classes = [one.__name__ for one in type(layer).__mro__]
    if attribute in _TABLES:
        return Truth("embedding", (0,))
    if attribute not in _KERNELS:
        return Truth(_VECTORS.get(attribute) or _OTHERS.get(attribute) or "state")
    if "EinsumDense" in classes:
        _, letters, out = layer.equation.replace(" ", "").replace("->", ",").split(",")
        return Truth("kernel", tuple(axis for axis, letter in enumerate(letters) if letter in out))
    if any(name.startswith("LocallyConnected") for name in classes):
        places = (rank - 2) // 2 if layer.implementation == 2 else 1
        # (places, inputs, filters), or (*places, in, *places, filters): a kernel for each place of the output
        return Truth("kernel", (0, rank - 1) if layer.implementation == 1 else tuple(range(rank - 1 - places, rank)))
    if attribute == "depthwise_kernel" or any(name.startswith("DepthwiseConv") for name in classes):
        return Truth("kernel", (rank - 2, rank - 1))
    if any(name.startswith("Conv") and name.endswith("Transpose") for name in classes):
        return Truth("kernel", (rank - 2,))
    return Truth("kernel", (rank - 1,))


def truths(model: Any, value_of: Callable[[Any], Any] = np.asarray) -> dict[bytes, Truth]:
    """Of all floating weights of a model and of its optimizer, by their bytes."""
    found: dict[bytes, Truth] = {}
    for layer, attribute, variable in _owned(model):
        values = np.asarray(value_of(variable))
        if values.dtype.kind == "f":
            found.setdefault(values.tobytes(), truth(layer, attribute, values.ndim))
    weights = [np.asarray(value_of(weight)) for weight in model.weights]
    missed = [weight.shape for weight in weights if weight.dtype.kind == "f" and weight.tobytes() not in found]
    assert not missed, missed
    for variable in _slots(model):
        values = np.asarray(value_of(variable))
        if values.size > 1:
            assert values.tobytes() not in found
            found[values.tobytes()] = Truth("optimizer")
    return found


def _slots(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    variables = [] if optimizer is None else optimizer.variables
    return list(variables() if callable(variables) else variables)


def _owned(layer: Any, seen: set[int] | None = None) -> Iterator[Owned]:
    """The weights of a layer and of all layers inside, each by the innermost layer that has it as an attribute."""
    seen = set() if seen is None else seen
    if id(layer) in seen:
        return
    seen.add(id(layer))
    flat = getattr(layer, "_flatten_layers", None)
    for inner in list(flat(include_self=False, recursive=False) if flat else ()):
        yield from _owned(inner, seen)
    for attribute, value in list(vars(layer).items()):
        if hasattr(value, "assign") and hasattr(value, "shape"):
            yield layer, attribute, value


NAMED: dict[str, Callable[[ModuleType, int, Any], str]] = {
    "neutral": lambda keras, number, make: f"x{number}",
    "default": lambda keras, number, make: _default(keras, make, number),
}
"""How layers are named: names that tell nothing, and those that Keras gives."""


def _default(keras: ModuleType, make: Any, number: int) -> str:
    probe = make(f"probe{number}")
    kind = type(getattr(probe, "layer", probe) if type(probe).__name__ == "_Itself" else probe).__name__
    from keras.src.utils.naming import auto_name  # the same words in tf_keras

    return str(auto_name(kind))


def functional(keras: ModuleType, names: str, some: slice = slice(None), *, train: bool = True) -> Any:
    """All variants side by side in a functional model."""
    _fresh(keras)
    starts: dict[tuple[int, ...], Any] = {}
    ends = []
    for number, (shape, make) in list(enumerate(graph_zoo.variants(keras)))[some]:
        if shape not in starts:
            starts[shape] = keras.Input(shape, name=f"in{len(starts)}")
        ends.append(make(NAMED[names](keras, number, make))(starts[shape]))
    model = keras.Model(list(starts.values()), ends)
    return trained(model) if train else keras_zoo.scramble(model)


def held(keras: ModuleType, names: str, some: slice = slice(None)) -> Any:
    """All variants as attributes of a model of a class of its own: "p0", "p1", ..."""
    _fresh(keras)
    parts = list(enumerate(graph_zoo.variants(keras)))[some]
    made = [(number, shape, make(NAMED[names](keras, number, make))) for number, (shape, make) in parts]

    class Net(keras.Model):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            for number, _, layer in made:
                setattr(self, f"p{number}", getattr(layer, "layer", layer) if _attends(layer) else layer)

        def call(self, inputs: Any) -> Any:
            return [layer(x) for (_, _, layer), x in zip(made, inputs, strict=True)]

    net = Net()
    net([np.zeros((1, *shape), "int32" if shape == graph_zoo._WORDS else "float32") for _, shape, _ in made])
    return trained(net)


def _attends(layer: Any) -> bool:
    return type(layer).__name__ == "_Itself"


def _fresh(keras: ModuleType) -> None:
    import keras as keras_3

    keras.backend.clear_session()
    keras_3.backend.clear_session()


def trained(model: Any) -> Any:
    """With the slots of an optimizer, and values that no two variables share."""
    keras_zoo.scramble(model)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_weights)
    rng = np.random.default_rng(11)
    for variable in _slots(model):
        values = np.asarray(variable)
        if values.dtype.kind == "f" and values.ndim:
            variable.assign(rng.normal(size=values.shape).astype(values.dtype))
    return model
