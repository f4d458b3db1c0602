"""What Keras layers store: class, weights in storing order, and for each weight its role and the axes that name units.

The orders, names and conditions are those of Keras 3.15 and tf_keras 2.21 (`add_weight` calls of each layer; trainable
weights are stored before the others). The unit axes are the kernel letters that reach the output: one unit is the set
of incoming weights of one output channel (per position, where positions do not share weights); of an embedding, a row.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from renorm_cli.model.identity import BOUNDED, Claim, Role
from renorm_cli.model.variable import Hint

Config = Mapping[str, Any]
Axes = tuple[int, ...]


class Weight(NamedTuple):
    """One weight of a layer class.

    `units` are the axes that name units, counted from the end, or such axes by rank; None where only an equation tells.
    `ranks` are the ranks it can have, none meaning any. `option` is the switch (SWITCHES) without which it is not
    stored. `also` is the name it has in tf_keras, where that differs. `shared` is, by rank, the unit axis that names
    inputs too: an output sees one channel, or one place, of the input.
    """

    name: str
    role: Role
    units: Axes | Mapping[int, Axes] | None = ()
    ranks: tuple[int, ...] = ()
    option: str | None = None
    also: str | None = None
    shared: Mapping[int, int] = {}

    def fits(self, shape: Sequence[int]) -> bool:
        return not self.ranks or len(shape) in self.ranks

    def unit_axes(self, rank: int) -> Axes | None:
        """Non-negative axes that name units in an array of `rank` axes; None if the table does not say."""
        axes = self.units.get(rank) if isinstance(self.units, Mapping) else self.units
        if axes is None or (self.ranks and rank not in self.ranks) or any(axis < -rank for axis in axes):
            return None
        return tuple(sorted(axis + rank for axis in axes))

    def shared_axes(self, rank: int) -> Axes:
        """Non-negative, those of the unit axes that name inputs too."""
        return (self.shared[rank] + rank,) if rank in self.shared else ()


SWITCHES: dict[str, Callable[[Config], bool]] = {
    "use_bias": lambda config: bool(config.get("use_bias", True)),
    "bias_axes": lambda config: config.get("bias_axes") is not None,
    "scale": lambda config: bool(config.get("scale", True) or config.get("rms_scaling")),
    "center": lambda config: bool(config.get("center", True) and not config.get("rms_scaling")),
    "renorm": lambda config: bool(config.get("renorm")),
    "use_scale": lambda config: bool(config.get("use_scale", True)),
    "concat": lambda config: config.get("score_mode") == "concat",
    "untied": lambda config: not config.get("tie_weights", True),
    "adapted": lambda config: config.get("mean") is None,
    "real": lambda config: config.get("mode") != "imag",
    "imag": lambda config: config.get("mode") != "real",
    "use_gate": lambda config: bool(config.get("use_gate")),
    "unbinned": lambda config: config.get("bin_boundaries") is None,
}
"""Whether the config of a layer makes it store the weights that hang on a switch."""

_BIAS = Weight("bias", "bias", option="use_bias")
_OUT = (-1,)
_DEPTH = (-2, -1)
_CHANNEL = {3: -2, 4: -2}
"""The channel of a depthwise kernel names inputs and outputs."""


def _kernel(units: Axes, *ranks: int, also: str | None = None) -> Weight:
    return Weight("kernel", "kernel", units, ranks, also=also)


def _separable(rank: int) -> tuple[Weight, ...]:
    depthwise = Weight("depthwise_kernel", "kernel", _DEPTH, (rank,), shared=_CHANNEL)
    return depthwise, Weight("pointwise_kernel", "kernel", _OUT, (rank,)), _BIAS


def _recurrent(rank: int) -> tuple[Weight, ...]:
    return _kernel(_OUT, rank), Weight("recurrent_kernel", "kernel", _OUT, (rank,)), _BIAS


def _normalization(*more: Weight) -> tuple[Weight, ...]:
    return Weight("gamma", "scale", option="scale"), Weight("beta", "bias", option="center"), *more


def _attention() -> tuple[Weight, ...]:
    heads = {3: _DEPTH}
    out = {rank: tuple(range(2 - rank, 0)) for rank in range(3, 8)}
    weights: list[Weight] = []
    for part in ("query", "key", "value"):
        weights += [Weight(f"{part}/kernel", "kernel", heads, (3,)), Weight(f"{part}/bias", "bias", option="use_bias")]
    weights.append(Weight("gate/kernel", "kernel", heads, (3,), option="use_gate"))
    weights.append(Weight("gate/bias", "bias", option="use_bias"))
    weights.append(Weight("attention_output/kernel", "kernel", out, tuple(out)))
    return *weights, Weight("attention_output/bias", "bias", option="use_bias")


_MOVING = (
    Weight("moving_mean", "statistic"),
    Weight("moving_variance", "statistic"),
    *(Weight(name, "statistic", option="renorm") for name in ("moving_stddev", "renorm_mean", "renorm_stddev")),
)
_NORMALIZATION = frozenset(weight.name for weight in _normalization(*_MOVING))
_EMBEDDINGS = Weight("embeddings", "embedding", (-2,), (2,))

LAYERS: dict[str, tuple[Weight, ...]] = {
    "Dense": (_kernel(_OUT, 2), _BIAS),
    "EinsumDense": (Weight("kernel", "kernel", None), Weight("bias", "bias", option="bias_axes")),
    "Embedding": (_EMBEDDINGS,),
    "ReversibleEmbedding": (_EMBEDDINGS, Weight("reverse_embeddings", "kernel", _OUT, (2,), option="untied")),
    **{f"Conv{n}D": (_kernel(_OUT, n + 2), _BIAS) for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": (_kernel((-2,), n + 2), _BIAS) for n in (1, 2, 3)},
    **{
        f"DepthwiseConv{n}D": (
            Weight("kernel", "kernel", _DEPTH, (n + 2,), also="depthwise_kernel", shared=_CHANNEL),
            _BIAS,
        )
        for n in (1, 2)
    },
    **{f"SeparableConv{n}D": _separable(n + 2) for n in (1, 2)},
    **{f"{name}{cell}": _recurrent(2) for name in ("SimpleRNN", "LSTM", "GRU") for cell in ("", "Cell")},
    "CuDNNLSTM": _recurrent(2),
    "CuDNNGRU": _recurrent(2),
    **{f"ConvLSTM{n}D": _recurrent(n + 2) for n in (1, 2, 3)},
    "ConvLSTMCell": (
        Weight("kernel", "kernel", _OUT, (3, 4, 5)),
        Weight("recurrent_kernel", "kernel", _OUT, (3, 4, 5)),
        _BIAS,
    ),
    "MultiHeadAttention": _attention(),
    "GroupedQueryAttention": _attention(),
    "Attention": (
        Weight("scale", "scale", (), (0, 1), option="use_scale"),
        Weight("concat_score_weight", "scale", (), (0, 1), option="concat"),
    ),
    "AdditiveAttention": (Weight("scale", "scale", (), (0, 1), option="use_scale"),),
    "LocallyConnected1D": (Weight("kernel", "kernel", {3: (-3, -1), 4: (-2, -1)}, (1, 3, 4), shared={3: -3}), _BIAS),
    "LocallyConnected2D": (
        Weight("kernel", "kernel", {3: (-3, -1), 6: (-3, -2, -1)}, (1, 3, 6), shared={3: -3}),
        _BIAS,
    ),
    "BatchNormalization": _normalization(*_MOVING),
    "SyncBatchNormalization": _normalization(*_MOVING),
    "LayerNormalization": _normalization(),
    "GroupNormalization": _normalization(),
    "RMSNormalization": (Weight("scale", "scale"),),
    "UnitNormalization": (),
    "SpectralNormalization": (Weight("vector_u", "state"),),
    "PReLU": (Weight("alpha", "scale"),),
    "Normalization": tuple(Weight(name, "statistic", option="adapted") for name in ("mean", "variance", "count")),
    "STFTSpectrogram": (
        Weight("real_kernel", "state", option="real"),
        Weight("imag_kernel", "state", option="imag"),
    ),
    "DynamicLookup": (Weight("vocabulary", "state"),),
    "Discretization": (Weight("summary", "state", option="unbinned"),),
    "RandomFourierFeatures": (
        Weight("kernel_scale", "scale"),
        Weight("unscaled_kernel", "state"),
        Weight("bias", "bias"),
    ),
}
"""Keras class -> its weights, in storing order; those of parts that it stores elsewhere (PARTS) too."""

_HEADS = {f"{part}_dense": part for part in ("query", "key", "value", "gate")} | {"output_dense": "attention_output"}
_CONV_CELL = {f"ConvLSTM{n}D": "conv_lstm_cell" for n in (1, 2, 3)}
_CELL = {"SimpleRNN": "simple_rnn_cell", "LSTM": "lstm_cell", "GRU": "gru_cell", **_CONV_CELL}
PARTS: dict[str, dict[str, str]] = {
    "MultiHeadAttention": _HEADS,
    "GroupedQueryAttention": _HEADS,
    **{name: {"cell": cell} for name, cell in _CELL.items()},
}
"""Attributes whose weights belong to the layer itself, though stored apart, and the part's name in Keras' paths."""

CONTAINERS = frozenset(
    {"Sequential", "Functional", "Model", "Bidirectional", "TimeDistributed", "RNN", "StackedRNNCells", "Wrapper"}
)
"""Classes that hold layers and no weights of their own."""

_ALIASES = {"GroupQueryAttention": "GroupedQueryAttention"} | {
    f"{kind}Convolution{n}D{end}": f"{kind}Conv{n}D{end}"
    for kind, n, end in itertools.product(("", "Separable"), (1, 2, 3), ("", "Transpose"))
}
_LORA = ("lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b")
QUANTIZED_NAMES = frozenset(
    f"{name}_{end}"
    for name in ("kernel", "embeddings", "reverse_embeddings", "inputs", "outputs_grad")
    for end in ("scale", "zero", "amax_history")
) | {"quantized_kernel", "g_idx", "awq_scales"}
"""Weights that only a quantized layer has."""

ROLES: dict[str, Role] = {
    **dict.fromkeys(QUANTIZED_NAMES, "quantized"),
    **dict.fromkeys(_LORA, "lora"),
    **{weight.name: weight.role for weights in LAYERS.values() for weight in weights if weight.name != "kernel_scale"},
    **dict.fromkeys(("kernel", "depthwise_kernel"), "kernel"),
    "gamma_or_beta": "scale",
    "seed_generator_state": "state",
}
"""What a weight is by its own name alone, for layers that are not in the table."""

TELLING: dict[str, Weight] = {
    "depthwise_kernel": Weight("depthwise_kernel", "kernel", _DEPTH, (3, 4), shared=_CHANNEL),
    "pointwise_kernel": Weight("pointwise_kernel", "kernel", _OUT, (3, 4)),
    "recurrent_kernel": Weight("recurrent_kernel", "kernel", _OUT, (2, 3, 4, 5)),
    **{weight.name: weight for weight in LAYERS["ReversibleEmbedding"]},
}
"""Weights whose own name tells their unit axes, whatever the layer."""


def snake_case(class_name: str) -> str:
    """The name Keras gives by default: "Conv2DTranspose" -> "conv2d_transpose" (keras.src.utils.naming)."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_COUNTER = re.compile(r"_[0-9]+\Z")
_BY_SNAKE = {snake_case(name): name for name in (*LAYERS, *CONTAINERS)}


def class_from_name(name: str) -> str | None:
    """The layer class a default name stands for: "conv2d_transpose_3" -> "Conv2DTranspose"; None for any other name."""
    return _BY_SNAKE.get(name) or (_BY_SNAKE.get(_COUNTER.sub("", name)) if name[-1:].isdigit() else None)


def canonical(class_name: str) -> str:
    """The class's own name, where a config gives another name of the same class."""
    return _ALIASES.get(class_name, class_name)


def find_weight(class_name: str, path: str) -> Weight | None:
    """The weight of the class that the end of `path` names ("lstm_cell/kernel" of LSTM is its kernel)."""
    weights = LAYERS.get(class_name)
    if weights is None:
        return None
    return next((one for end in suffixes(path) for one in weights if end in (one.name, one.also)), None)


def claims(hint: Hint, shape: tuple[int, ...]) -> Iterator[Claim]:
    """What the layer's class tells of a weight, and what its own name tells where the class does not.

    The source is "layer" if the class is known from the file's config, "name" if from a default layer name.
    """
    if hint.weight is None:
        return
    known = find_weight(hint.layer, hint.weight) if hint.layer is not None else None
    known = known if known is not None and known.fits(shape) else None
    axes, shared = _by_layer(hint, known, len(shape))
    if known is not None or axes is not None:
        told = f"the layer {hint.layer or hint.equation}"
        yield Claim(hint.source, None if known is None else known.role, axes, told, shared)
    role = next((ROLES[end] for end in suffixes(hint.weight) if end in ROLES), None) if known is None else None
    tells = axes is None and hint.layer != "EinsumDense"
    own, shared = _by_own_name(hint.weight, len(shape)) if tells else _NO_AXES
    if role is not None or own is not None:
        yield Claim("name", role, own, f"the name {hint.weight!r}", shared)


_NO_AXES: tuple[Axes | None, Axes] = None, ()


def _by_layer(hint: Hint, known: Weight | None, rank: int) -> tuple[Axes | None, Axes]:
    """The unit axes, and those of them that name inputs too."""
    if hint.equation is not None:
        found = einsum_units(hint.equation, rank) if (hint.weight or "").endswith("kernel") else None
        return _NO_AXES if found is None else (found, einsum_shared(hint.equation))
    return _NO_AXES if known is None else _of_weight(known, rank)


def _of_weight(weight: Weight, rank: int) -> tuple[Axes | None, Axes]:
    if rank < 2 or weight.role not in BOUNDED:
        return _NO_AXES
    return weight.unit_axes(rank), weight.shared_axes(rank)


def _by_own_name(weight: str, rank: int) -> tuple[Axes | None, Axes]:
    """What a weight's own name tells; a matrix called "kernel" is (in, out), as all of Keras' but EinsumDense's are."""
    for end in suffixes(weight):
        if end in TELLING:
            return _of_weight(TELLING[end], rank)
        if end == "kernel" and rank == 2:
            return (1,), ()
    return _NO_AXES


def suffixes(path: str) -> Iterable[str]:
    """ "a/b/c", "b/c", "c"; at most the last two parts can name a weight, so no more are tried."""
    parts = path.rsplit("/", 2)[-2:]
    return ("/".join(parts), parts[-1]) if len(parts) > 1 else (parts[-1],)


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


_CONVOLUTION = re.compile(r"(?:Depthwise|Separable)?Conv(?:LSTM)?([123])D(?:Transpose)?")


def convolves(layer: str | None, rank: int) -> bool:
    """Whether kernels of this rank in a layer of this class are moved over an input."""
    found = _CONVOLUTION.fullmatch(layer or "")
    return found is not None and rank == int(found[1]) + 2


_EINSUM = re.compile(r"(?:\.\.\.)?([A-Za-z]*)(?:\.\.\.)?,([A-Za-z]+)->([A-Za-z.]*)")


def einsum_shared(equation: str) -> Axes:
    """The kernel axes whose letters are in the input and in the output: "bhd,hde->bhe" -> (0,)."""
    found = _EINSUM.fullmatch(equation.replace(" ", ""))
    if found is None:
        return ()
    return tuple(axis for axis, letter in enumerate(found[2]) if letter in found[1] and letter in found[3])


def einsum_units(equation: str, rank: int) -> Axes | None:
    """The kernel axes whose letters reach the output: "abc,cde->abde" -> (1, 2); None for no such equation or rank."""
    found = _EINSUM.fullmatch(equation.replace(" ", ""))
    if found is None or len(found[2]) != rank:
        return None
    return tuple(axis for axis, letter in enumerate(found[2]) if letter in found[3])


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
