"""What Keras layers store: class, weights in storing order, and for each weight its role and the axes that name units.

The orders, names and conditions are those of Keras 3.15 and tf_keras 2.21 (`add_weight` calls of each layer; trainable
weights are stored before the others). The unit axes are the kernel letters that reach the output: one unit is the set
of incoming weights of one output channel (per position, where positions do not share weights); of an embedding, a row.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from renorm_cli.model.identity import Role

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


def suffixes(path: str) -> Iterable[str]:
    """ "a/b/c", "b/c", "c"; at most the last two parts can name a weight, so no more are tried."""
    parts = path.rsplit("/", 2)[-2:]
    return ("/".join(parts), parts[-1]) if len(parts) > 1 else (parts[-1],)
