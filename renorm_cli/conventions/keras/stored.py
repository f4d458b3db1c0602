"""Which weights the arrays of a layer are, where a file stores them in order and without names; what is quantized."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from renorm_cli.conventions.keras.layers import LAYERS, PARTS, SWITCHES, Config, Weight

_NORMALIZATION = frozenset(weight.name for weight in LAYERS["BatchNormalization"])


def stored_weights(
    class_name: str, shapes: Sequence[tuple[int, ...]], config: Config | None = None, part: str | None = None
) -> tuple[str, ...] | None:
    """Names of the weights a layer stored, in order; None if the class does not store arrays of these shapes.

    `config` is the layer's, if known. `part` is one of the class's PARTS, None for what the layer stores itself.
    Without a config a name can be open: "gamma_or_beta".
    """
    spec = _own_or_part(class_name, part)
    if spec is None:
        return None
    if config is not None:
        names = _matching(spec, {weight.option for weight in spec if _is_on(weight.option, config)}, shapes)
        if names is not None:
            return names
    options = list(dict.fromkeys(weight.option for weight in spec if weight.option))
    ways: list[tuple[str, ...]] = []
    for states in itertools.product((True, False), repeat=len(options)):
        on = {option for option, state in zip(options, states, strict=True) if state}
        way = _matching(spec, on, shapes)
        if way is not None and way not in ways:
            ways.append(way)
    if not ways:
        return None
    return tuple("_or_".join(dict.fromkeys(names)) for names in zip(*ways, strict=True))


def _own_or_part(class_name: str, part: str | None) -> tuple[Weight, ...] | None:
    spec = LAYERS.get(class_name)
    if spec is None:
        return None
    if part is None:
        return () if class_name in PARTS else spec
    own = tuple(weight for weight in spec if weight.name.startswith(f"{part}/"))
    return own or spec


def _is_on(option: str | None, config: Config) -> bool:
    return option is not None and SWITCHES[option](config)


def _matching(
    spec: Sequence[Weight], on: Iterable[str | None], shapes: Sequence[tuple[int, ...]]
) -> tuple[str, ...] | None:
    weights = [weight for weight in spec if weight.option is None or weight.option in on]
    if len(weights) != len(shapes):
        return None
    if not all(weight.fits(shape) for weight, shape in zip(weights, shapes, strict=True)):
        return None
    return tuple(weight.name for weight in weights) if _lengths_fit(weights, shapes) else None


def _lengths_fit(weights: Sequence[Weight], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether a layer's bias has an element for each unit of its last kernel, and a normalization's vectors are alike.

    A GRU can store two biases in one, a row each.
    """
    stored = list(zip(weights, shapes, strict=True))
    if len({shape for weight, shape in stored if weight.name in _NORMALIZATION}) > 1:
        return False
    kernels = [(weight, shape) for weight, shape in stored if weight.role == "kernel"]
    bias = next((shape for weight, shape in stored if weight.role == "bias"), None)
    if bias is None or not kernels:
        return True
    weight, shape = kernels[-1]
    axes = weight.unit_axes(len(shape)) if len(shape) > 1 else None
    units = None if axes is None else math.prod(shape[axis] for axis in axes)
    return units is None or units in (math.prod(bias), math.prod(bias[1:]) if len(bias) == 2 else units - 1)


def biased(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether two arrays can only be a kernel and its bias, as every layer of Keras with two such arrays has them.

    The bias is a vector with an element for each unit of a kernel: along its last axis, and of more than two axes along
    the one before it or along both.
    """
    if len(shapes) != 2 or len(shapes[0]) < 2 or len(shapes[1]) != 1:
        return False
    *_, rows, columns = shapes[0]
    return shapes[1][0] in ((columns,) if len(shapes[0]) == 2 else (columns, rows, rows * columns))


def cell_class(shapes: Sequence[tuple[int, ...]]) -> str | None:
    """The recurrent cell whose kernels these are, told by its number of gates; None if they are none.

    The recurrent kernel is (units, gates x units): 1 gate SimpleRNN, 3 GRU, 4 LSTM; of convolutional cells (*k, f, 4f).
    """
    if len(shapes) not in (2, 3) or len(shapes[0]) != len(shapes[1]) or not 2 <= len(shapes[0]) <= 5:
        return None
    units, columns = shapes[1][-2:]
    if units == 0 or shapes[0][-1] != columns or columns % units:
        return None
    if len(shapes[0]) > 2:
        return "ConvLSTMCell" if columns == 4 * units else None
    return {1: "SimpleRNNCell", 3: "GRUCell", 4: "LSTMCell"}.get(columns // units)


_QUANTIZED_POLICY = re.compile(r"quantized|int[48]|float8|gptq|awq", re.IGNORECASE)


def is_quantized(config: Config) -> bool:
    """Whether the config of a layer says that its weights are quantized."""
    if config.get("quantization_config") is not None:
        return True
    policy = config.get("dtype")
    name = policy.get("class_name") if isinstance(policy, Mapping) else policy
    return isinstance(name, str) and _QUANTIZED_POLICY.search(name) is not None


def holds_quantized(class_name: str, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str]) -> bool:
    """Whether what a layer stored is quantized: integers where weights should be, or the scales of float8 after them.

    A float8 layer stores three pairs of a scalar scale and a history behind its kernel and bias (Keras 3.15).
    """
    if not any(weight.role in ("kernel", "embedding") for weight in LAYERS.get(class_name, ())):
        return False
    if any(re.match(r"u?int", dtype) for dtype in dtypes):
        return True
    tail = [len(shape) for shape in shapes[-6:]]
    return len(shapes) > 6 and tail == [0, 1, 0, 1, 0, 1]
