"""Models of many layer variants, and what their layer objects say of each weight; names that tell nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from renorm_cli.conventions.keras.layers import find_weight
from renorm_cli.conventions.keras.weights import einsum_units
from support import keras_zoo

WARNINGS = keras_zoo.WARNINGS


class Truth(NamedTuple):
    """What a layer object tells of one of its weights; `units` is None where it has no kernel or embedding."""

    layer: str
    weight: str
    role: str
    shape: tuple[int, ...]
    units: tuple[int, ...] | None


_VECTOR, _SERIES, _LINE, _IMAGE, _VOLUME, _WORDS = (6,), (5, 6), (8, 4), (8, 8, 4), (6, 6, 6, 3), (5,)
_FILM = (3, 8, 8, 3)
_PLACES = ((1, _LINE), (2, _IMAGE), (3, _VOLUME))
_CONVS: list[dict[str, Any]] = [{}, {"padding": "same", "use_bias": False}, {"strides": 2}, {"dilation_rate": 2}]
_TRANSPOSED: list[dict[str, Any]] = [{}, {"strides": 2, "padding": "same"}]
_RECURRENT: list[dict[str, Any]] = [{}, {"return_sequences": True, "go_backwards": True}, {"use_bias": False}]

ALL = slice(None)

Make = Callable[[str], Any]
"""Of a layer, by its name."""


def variants(keras: ModuleType, *, noisy: bool = True) -> list[tuple[tuple[int, ...], Make]]:
    """The shape of the input without the batch, and the maker, of every variant that the flavour of Keras has.

    `noisy` ones have a random state, which Keras 3 does not track where TensorFlow saves the model.
    """
    layers = keras.layers

    def of(kind: str, *args: Any, **options: Any) -> Make:
        return lambda name: getattr(layers, kind)(*args, name=name, **options)

    def wrapped(kind: str, inner: Make, **options: Any) -> Make:
        return lambda name: getattr(layers, kind)(inner(f"{name}i"), name=name, **options)

    def itself(kind: str, *args: Any, **options: Any) -> Make:
        return lambda name: _Itself(getattr(layers, kind)(*args, name=name, **options))

    def cells(name: str) -> Any:
        return layers.RNN([layers.LSTMCell(7, name=f"{name}a"), layers.GRUCell(5, name=f"{name}b")], name=name)

    found: list[tuple[tuple[int, ...], Make]] = [
        (_VECTOR, of("Dense", 5)),
        (_VECTOR, of("Dense", 5, use_bias=False, activation="relu")),
        (_SERIES, of("Dense", 5)),
        (_IMAGE, of("Dense", 5)),
        (_SERIES, wrapped("TimeDistributed", of("Dense", 7))),
        (_VECTOR, of("EinsumDense", "ab,bc->ac", 5, bias_axes="c")),
        (_SERIES, of("EinsumDense", "abc,cd->abd", (None, 7), bias_axes="d")),
        (_SERIES, of("EinsumDense", "abc,dc->abd", (None, 7))),
        (_SERIES, of("EinsumDense", "abc,cde->abde", (None, 2, 3), bias_axes="de")),
        (_SERIES, of("EinsumDense", "abc,bcd->abd", (5, 7))),
        (_SERIES, of("EinsumDense", "...x,xy->...y", (7,))),
        (_WORDS, of("Embedding", 11, 7)),
        (_WORDS, of("Embedding", 11, 7, mask_zero=True)),
        (_LINE, of("Conv1D", 8, 3, groups=2)),
        (_IMAGE, of("Conv2D", 8, 3, groups=2)),
        (_IMAGE, of("Conv2D", 7, 1)),
        (_IMAGE, of("Conv2D", 7, (1, 3), padding="same", activation="relu")),
        (_IMAGE, of("DepthwiseConv2D", 3, strides=2, padding="same", use_bias=False)),
        (_SERIES, of("GRU", 7, reset_after=False)),
        (_SERIES, wrapped("Bidirectional", of("GRU", 7))),
        (_SERIES, wrapped("Bidirectional", of("LSTM", 7, return_sequences=True), merge_mode="sum")),
        (_SERIES, cells),
        ((4, 8, 4), of("ConvLSTM1D", 7, 3)),
        (_FILM, of("ConvLSTM2D", 7, 3)),
        (_FILM, of("ConvLSTM2D", 7, 3, return_sequences=True, padding="same")),
        (_SERIES, itself("MultiHeadAttention", num_heads=2, key_dim=3)),
        (_SERIES, itself("MultiHeadAttention", 2, 3, value_dim=5, output_shape=7, use_bias=False)),
        (_IMAGE, itself("MultiHeadAttention", num_heads=2, key_dim=3, attention_axes=(1, 2))),
        (_SERIES, itself("Attention", use_scale=True, score_mode="concat")),
        (_SERIES, itself("AdditiveAttention")),
        (_IMAGE, of("BatchNormalization")),
        (_VECTOR, of("BatchNormalization", scale=False)),
        (_SERIES, of("LayerNormalization")),
        (_IMAGE, of("GroupNormalization", 2)),
        (_SERIES, of("PReLU")),
        (_IMAGE, of("PReLU", shared_axes=(1, 2))),
        (_LINE, of("Dense", 1)),
        (_SERIES, of("EinsumDense", "abc,cde->abde", (None, 2, 3))),
        (_IMAGE, of("Conv2D", 8, 3, groups=4, dilation_rate=2, use_bias=False)),
        (_IMAGE, of("Conv2D", 1, 1, use_bias=False)),
        (_IMAGE, of("Conv2DTranspose", 7, (1, 3), use_bias=False)),
        (_IMAGE, of("DepthwiseConv2D", 3, dilation_rate=2, depth_multiplier=3)),
        (_IMAGE, of("SeparableConv2D", 7, 3, strides=2, padding="same", use_bias=False)),
        (_SERIES, wrapped("Bidirectional", of("SimpleRNN", 7), merge_mode="ave")),
        (_SERIES, of("LSTM", 7, unroll=True)),
        (_SERIES, of("GRU", 7, unroll=True, go_backwards=True)),
        (_SERIES, of("RNN", layers.SimpleRNNCell(7))),
        (_FILM, wrapped("TimeDistributed", of("Conv2D", 7, 3))),
        (_FILM, wrapped("TimeDistributed", of("Conv2DTranspose", 7, 3))),
    ]
    if noisy:
        found += [(_SERIES, of(kind, 7, dropout=0.2, recurrent_dropout=0.2)) for kind in ("SimpleRNN", "GRU", "LSTM")]
    for n, shape in _PLACES:
        found += [(shape, of(f"Conv{n}D", 7, 3, **options)) for options in _CONVS]
        found += [(shape, of(f"Conv{n}DTranspose", 7, 3, **options)) for options in _TRANSPOSED]
    for n, shape in _PLACES[:2]:
        for multiplier in (1, 2):
            found.append((shape, of(f"DepthwiseConv{n}D", 3, depth_multiplier=multiplier)))
            found.append((shape, of(f"SeparableConv{n}D", 7, 3, depth_multiplier=multiplier)))
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        found += [(_SERIES, of(kind, 7, **options)) for options in _RECURRENT]
    if keras.__name__ == "keras":
        found += [
            (_SERIES, itself("GroupQueryAttention", 4, 2, 1)),
            (_WORDS, of("ReversibleEmbedding", 11, 7)),
            (_SERIES, of("RMSNormalization")),
            (_VECTOR, wrapped("SpectralNormalization", of("Dense", 5))),
            (_IMAGE, wrapped("SpectralNormalization", of("Conv2D", 5, 3))),
        ]
    else:
        found += [
            (_LINE, of("LocallyConnected1D", 7, 3)),
            (_LINE, of("LocallyConnected1D", 7, 3, implementation=2)),
            (_IMAGE, of("LocallyConnected2D", 7, 3)),
            (_IMAGE, of("LocallyConnected2D", 7, 3, use_bias=False)),
            (_IMAGE, of("LocallyConnected2D", 7, 3, implementation=2)),
        ]
    return found


class _Itself:
    """A layer that attends to its own input."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        takes_a_list = type(self.layer).__name__ in ("Attention", "AdditiveAttention")
        return self.layer([x, x]) if takes_a_list else self.layer(x, x)


def model(keras: ModuleType, part: slice = ALL, *, noisy: bool = True) -> Any:
    """One model of all variants, or of a part, side by side, with names that tell nothing: "x0", "x1", ..."""
    starts: dict[tuple[int, ...], Any] = {}
    ends = []
    for number, (shape, make) in list(enumerate(variants(keras, noisy=noisy)))[part]:
        if shape not in starts:
            starts[shape] = keras.Input(shape, name=f"in{len(starts)}")
        ends.append(make(f"x{number}")(starts[shape]))
    return keras.Model(list(starts.values()), ends)


Truths = dict[bytes, Truth]


def truths(model: Any, value_of: Callable[[Any], Any] = np.asarray) -> Truths:
    """What the table of layers says of the weights of the live layer objects, by the bytes of each weight."""
    found: Truths = {}
    for layer in _layers(model):
        kind = type(layer).__name__
        for weight in layer.weights:
            values = np.asarray(value_of(weight))
            known = find_weight(kind, str(getattr(weight, "path", weight.name)).removesuffix(":0"))
            if known is None or values.dtype.kind != "f" or values.tobytes() in found:
                continue
            units = known.unit_axes(values.ndim) if known.role in ("kernel", "embedding") else None
            if kind == "EinsumDense" and known.name == "kernel":
                units = einsum_units(layer.equation, values.ndim)
            found[values.tobytes()] = Truth(kind, known.name, known.role, values.shape, units)
    return found


def _layers(layer: Any) -> list[Any]:
    """All layers, innermost first."""
    flat = getattr(layer, "_flatten_layers", None)
    inner = getattr(layer, "_layers", None) or (flat(include_self=False) if flat else ())
    return [*(each for part in list(inner) for each in _layers(part)), layer]


def _made(keras: ModuleType, part: slice, *, noisy: bool = True) -> Any:
    """The model with values that identify its weights."""
    keras.backend.clear_session()
    return keras_zoo.scramble(model(keras, part, noisy=noisy))


def _exported(keras: ModuleType, path: Path, part: slice, policy: str = "float32") -> Truths:
    keras.mixed_precision.set_global_policy(policy)
    try:
        made = _made(keras, part)
        made.export(str(path), **({"verbose": False} if keras.__name__ == "keras" else {}))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    return truths(made)


def _traced(keras: ModuleType, path: Path, part: slice, way: Callable[[Any, Any], Any], **options: Any) -> Truths:
    """A function around the model: `way` takes the model and its inputs."""
    import tensorflow as tf

    made = _made(keras, part, noisy=keras.__name__ != "keras")
    module = tf.Module()
    module.model = made
    signature = [tf.TensorSpec((2, *each.shape[1:])) for each in made.inputs]
    module.run = tf.function(lambda *inputs: way(made, list(inputs)), input_signature=signature, **options)
    tf.saved_model.save(module, str(path), signatures=module.run)
    return truths(made)


def _loss(made: Any, inputs: Any) -> Any:
    import tensorflow as tf

    return tf.add_n([tf.reduce_mean(tf.square(each)) for each in tf.nest.flatten(made(inputs))])


def _outputs(made: Any, inputs: Any) -> Any:
    import tensorflow as tf

    return {f"y{place}": each for place, each in enumerate(tf.nest.flatten(made(inputs)))}


def _looped(made: Any, inputs: Any) -> Any:
    """In the body of a loop, and in a branch."""
    import tensorflow as tf

    total = tf.while_loop(lambda i, _: i < 3, lambda i, sum_: (i + 1, sum_ + _loss(made, inputs)), (0, 0.0))[1]
    return {"y": tf.cond(total > 1, lambda: _loss(made, inputs), lambda: total)}


def _trained(made: Any, inputs: Any) -> Any:
    """A step of gradient descent."""
    import tensorflow as tf

    weights = [each if isinstance(each, tf.Variable) else each.value for each in made.trainable_weights]
    with tf.GradientTape() as tape:
        loss = _loss(made, inputs)
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        if gradient is not None:
            weight.assign_sub(0.1 * tf.convert_to_tensor(gradient))
    return {"y": loss}


def keras_3_export(path: Path, part: slice = ALL) -> Truths:
    import keras

    return _exported(keras, path, part)


def keras_3_export_in_bfloat16(path: Path, part: slice = ALL) -> Truths:
    import keras

    return _exported(keras, path, part, "mixed_bfloat16")


def keras_3_save(path: Path, part: slice = ALL) -> Truths:
    import keras
    import tensorflow as tf

    made = _made(keras, part, noisy=False)
    tf.saved_model.save(made, str(path))
    return truths(made)


def keras_3_compiled(path: Path, part: slice = ALL) -> Truths:
    import keras

    return _traced(keras, path, part, _outputs, jit_compile=True)


def keras_3_looped(path: Path, part: slice = ALL) -> Truths:
    import keras

    return _traced(keras, path, part, _looped)


def keras_3_trained(path: Path, part: slice = ALL) -> Truths:
    import keras

    return _traced(keras, path, part, _trained)


def tf_keras_save(path: Path, part: slice = ALL) -> Truths:
    import tf_keras

    made = _made(tf_keras, part)
    made.save(path, save_format="tf")
    return truths(made)


def tf_keras_export(path: Path, part: slice = ALL) -> Truths:
    import tf_keras

    return _exported(tf_keras, path, part)


def tf_keras_export_in_bfloat16(path: Path, part: slice = ALL) -> Truths:
    import tf_keras

    return _exported(tf_keras, path, part, "mixed_bfloat16")


def tf_keras_compiled(path: Path, part: slice = ALL) -> Truths:
    import tf_keras

    return _traced(tf_keras, path, part, _outputs, jit_compile=True)


def tf_keras_looped(path: Path, part: slice = ALL) -> Truths:
    import tf_keras

    return _traced(tf_keras, path, part, _looped)


def tf_keras_trained(path: Path, part: slice = ALL) -> Truths:
    import tf_keras

    return _traced(tf_keras, path, part, _trained)


def _in_a_session(part: slice, save: Callable[[Any, Any], None], *, train: bool) -> Truths:
    import tensorflow as tf
    import tf_keras
    from tensorflow.compat import v1

    with tf.Graph().as_default(), v1.Session() as session:
        made = model(tf_keras, part)
        if train:
            loss = tf.add_n([tf.reduce_mean(tf.square(each)) for each in tf.nest.flatten(made.outputs)])
            v1.train.AdamOptimizer().minimize(loss, var_list=made.trainable_weights)
        session.run(v1.global_variables_initializer())
        save(session, made)
        return truths(made, session.run)


def training_graph(path: Path, part: slice = ALL) -> Truths:
    """A graph of TF1 with a training step of Adam: `path`.meta, and the checkpoint at `path`."""
    from tensorflow.compat import v1

    return _in_a_session(part, lambda session, made: v1.train.Saver().save(session, str(path)), train=True)


def tf1_saved_model(path: Path, part: slice = ALL) -> Truths:
    from tensorflow.compat import v1

    def save(session: Any, made: Any) -> None:
        inputs = {f"x{place}": each for place, each in enumerate(made.inputs)}
        outputs = {f"y{place}": each for place, each in enumerate(made.outputs)}
        v1.saved_model.simple_save(session, str(path), inputs, outputs)

    return _in_a_session(part, save, train=False)


def to_a_file(flavour: str, save: str, path: Path, part: slice = ALL) -> Truths:
    """Without a graph: `save` is a method of the model, or "checkpoint"."""
    import tensorflow as tf

    made = _made(importlib.import_module(flavour), part)
    if save == "checkpoint":
        tf.train.Checkpoint(model=made).write(str(path))
    else:
        getattr(made, save)(str(path))
    return truths(made)


FILES = [
    ("keras", "save", "model.keras"),
    ("keras", "save", "model.h5"),
    ("keras", "save_weights", "model.weights.h5"),
    ("keras", "checkpoint", "weights"),
    ("tf_keras", "save", "model.keras"),
    ("tf_keras", "save", "model.h5"),
    ("tf_keras", "save_weights", "model.weights.h5"),
    ("tf_keras", "save_weights", "weights"),
]
"""Flavour of Keras, way to save, and the name of the file or of the checkpoint."""

Way = Callable[[Path, slice], Truths]

WAYS: list[Way] = [
    keras_3_export,
    keras_3_export_in_bfloat16,
    keras_3_save,
    keras_3_compiled,
    keras_3_looped,
    keras_3_trained,
    tf_keras_save,
    tf_keras_export,
    tf_keras_export_in_bfloat16,
    tf_keras_compiled,
    tf_keras_looped,
    tf_keras_trained,
    tf1_saved_model,
    training_graph,
]
"""Of saving a graph."""
