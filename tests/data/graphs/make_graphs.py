"""Make graphs.zip: stored graphs that TensorFlow wrote, and what a judge of its own says of each of their weights.

    python make_graphs.py

The judge differentiates: the weight's axes along which its elements reach other features of the output name units.
For what has no such answer (roles of vectors, weights of which no whole axes name units) the answer is written here.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import numpy as np
import tensorflow as tf
from tensorflow.compat import v1
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

HERE = Path(__file__).parent
_WHEN = (2020, 1, 1, 0, 0, 0)

Shape = tuple[int, ...]
Answer = tuple[str | None, Shape | None, str]


class Case(NamedTuple):
    """A use of weights: `apply(x, *weights)`, `x` of shape `given`; the output's axes `features` tell units apart.

    `told` gives (role, unit axes, state) where the judge does not: by the number of the weight.
    """

    name: str
    given: Shape
    shapes: Sequence[Shape]
    apply: Callable[..., Any]
    features: Shape = (-1,)
    told: Mapping[int, Answer] = MappingProxyType({})
    whole: bool = False
    """Whether `x` are row numbers."""


BIAS, SCALE, STATISTIC = ("bias", None, "told"), ("scale", None, "told"), ("statistic", None, "told")
OPEN_KERNEL, CONFLICT = ("kernel", None, "open"), ("kernel", None, "conflict")
RANGE = ("quantized", None, "told")
LAST = ("kernel", (1,), "told")
UNKNOWN, UNUSED = (None, None, "open"), (None, None, "unused")


HELD = tf.constant(np.arange(20.0).reshape(4, 5), tf.float32)
"""A value that a function takes from outside: saved as an object that is a constant."""


def loop(x: Any, w: Any) -> Any:
    return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y @ w), (tf.constant(0), x))[1]


def changed_in_loop(x: Any, w: Any) -> Any:
    start = (tf.constant(0), x, w + 0.0)
    return tf.while_loop(lambda i, y, v: i < 3, lambda i, y, v: (i + 1, y @ v, v * 0.9), start)[1]


def scanned(x: Any, w: Any) -> Any:
    return tf.scan(lambda a, each: a @ w + each, x)


def through_python(x: Any, w: Any) -> Any:
    return x @ tf.ensure_shape(tf.numpy_function(lambda v: v, [w], tf.float32), (4, 5))


def chosen(x: Any, a: Any, b: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x @ a, lambda: x @ tf.transpose(b))


def one_of(x: Any, a: Any, b: Any) -> Any:
    return x @ tf.cond(tf.reduce_sum(x) > 0, lambda: tf.identity(a), lambda: tf.identity(b))


def switched(x: Any, a: Any, b: Any) -> Any:
    return tf.switch_case(tf.cast(tf.reduce_sum(x), tf.int32) % 2, {0: lambda: x @ a, 1: lambda: x @ b})


@tf.function  # type: ignore[untyped-decorator]
def inner(x: Any, w: Any) -> Any:
    return x @ w


@tf.function  # type: ignore[untyped-decorator]
def doubled(w: Any) -> Any:
    return 2.0 * w


@tf.custom_gradient  # type: ignore[untyped-decorator]
def own_gradient(x: Any, w: Any) -> Any:
    return x @ w, lambda up: (up @ tf.transpose(w), tf.transpose(x) @ up)


def normed(x: Any, v: Any, g: Any) -> Any:
    return x @ (g * v * tf.math.rsqrt(tf.reduce_sum(v * v, 0, keepdims=True)))


def standardized(x: Any, w: Any) -> Any:
    mean, variance = tf.nn.moments(w, (0, 1, 2), keepdims=True)
    return tf.nn.conv2d(x, (w - mean) * tf.math.rsqrt(variance + 1e-3), 1, "VALID")


def unfolded(x: Any, w: Any) -> Any:
    patches = tf.image.extract_patches(x, (1, 3, 3, 1), (1, 1, 1, 1), (1, 1, 1, 1), "VALID")
    return patches @ tf.reshape(w, (36, 5))


def quantized(x: Any, w: Any) -> Any:
    return x @ tf.quantization.fake_quant_with_min_max_args(w, -6, 6)


def ranged(x: Any, w: Any, low: Any, high: Any) -> Any:
    return x @ tf.quantization.fake_quant_with_min_max_vars(w, low - 9.0, high + 9.0)


def normalized(x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
    return tf.compat.v1.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)[0]


def mixed(x: Any, w: Any) -> Any:
    return tf.cast(tf.cast(x, tf.bfloat16) @ tf.cast(w, tf.bfloat16), tf.float32)


def conv1d(x: Any, w: Any) -> Any:
    return tf.nn.conv1d(x, w, 1, "VALID")


def conv2d(x: Any, w: Any) -> Any:
    return tf.nn.conv2d(x, w, 1, "VALID")


def conv2d_back(x: Any, w: Any) -> Any:
    return tf.nn.conv2d_transpose(x, w, (2, 8, 8, 5), 1, "VALID")


def conv3d_back(x: Any, w: Any) -> Any:
    return tf.nn.conv3d_transpose(x, w, (1, 4, 4, 4, 5), 1, "VALID")


def sparse(x: Any, w: Any) -> Any:
    return tf.sparse.sparse_dense_matmul(tf.sparse.from_dense(x), w)


def two_parts(x: Any, a: Any, b: Any) -> Any:
    return x @ tf.concat([a, b], 1)


def two_inputs(x: Any, w: Any) -> Any:
    return sum(a @ b for a, b in zip(tf.split(x, 2, 1), tf.split(w, 2, 0), strict=True))


IMAGE, ROWS = (2, 6, 6, 4), (7,)
CASES = [
    Case("dense", (2, 4), [(4, 5)], lambda x, w: x @ w),
    Case("dense_t", (2, 4), [(5, 4)], lambda x, w: tf.matmul(x, w, transpose_b=True)),
    Case("left", (4, 3), [(5, 4)], lambda x, w: w @ x, (0,)),
    Case("dense_bias", (2, 4), [(4, 5), (5,)], lambda x, w, b: x @ w + b, told={1: BIAS}),
    Case("bias_op", (2, 4), [(4, 5), (5,)], lambda x, w, b: tf.nn.bias_add(x @ w, b), told={1: BIAS}),
    Case("scaled", (2, 4), [(4, 5), (5,)], lambda x, w, g: (x @ w) * g, told={1: SCALE}),
    Case("batched", (3, 2, 4), [(3, 4, 5)], lambda x, w: x @ w, (0, 2)),
    Case("tensordot", (2, 3, 4), [(4, 5)], lambda x, w: tf.tensordot(x, w, 1)),
    Case("tensordot_2", (2, 3, 4), [(3, 4, 5)], lambda x, w: tf.tensordot(x, w, 2)),
    Case("heads", (2, 3, 4), [(4, 2, 5)], lambda x, w: tf.einsum("abc,cde->abde", x, w), (2, 3)),
    Case("heads_out", (2, 3, 2, 5), [(2, 5, 4)], lambda x, w: tf.einsum("abcd,cde->abe", x, w)),
    Case("turned", (2, 3, 4), [(5, 4)], lambda x, w: tf.einsum("abc,dc->abd", x, w)),
    Case("dots", (2, 3, 4), [(4, 5)], lambda x, w: tf.einsum("...a,ab->...b", x, w)),
    Case("places", (2, 3, 4), [(3, 4, 5)], lambda x, w: tf.einsum("abc,bcd->abd", x, w), (1, 2)),
    Case("heads_reshaped", (2, 4), [(4, 2, 5)], lambda x, w: x @ tf.reshape(w, (4, 10))),
    Case("in_reshaped", (2, 12), [(3, 4, 5)], lambda x, w: x @ tf.reshape(w, (-1, 5))),
    Case("torn", (2, 6), [(4, 9)], lambda x, w: x @ tf.reshape(w, (6, 6)), told={0: OPEN_KERNEL}),
    Case("transposed", (2, 4), [(5, 4)], lambda x, w: x @ tf.transpose(w)),
    Case("permuted", (2, 4), [(5, 4, 3)], lambda x, w: x @ tf.reshape(tf.transpose(w, (1, 0, 2)), (4, 15))),
    Case("cast", (2, 4), [(4, 5)], mixed),
    Case("sliced", (2, 4), [(4, 6)], lambda x, w: tf.concat([x @ w[:, :2], x @ w[:, 2:]], 1)),
    Case("some_inputs", (2, 4), [(6, 5)], lambda x, w: x @ w[1:5]),
    Case("slice_op", (2, 4), [(6, 5)], lambda x, w: x @ tf.slice(w, (2, 0), (-1, -1))),
    Case("split", (2, 4), [(4, 6)], lambda x, w: tf.concat([x @ part for part in tf.split(w, 3, 1)], 1)),
    Case("split_sizes", (2, 4), [(4, 6)], lambda x, w: tf.concat([x @ part for part in tf.split(w, (2, 4), 1)], 1)),
    Case("split_inputs", (2, 4), [(4, 5)], two_inputs),
    Case("parts", (2, 4), [(4, 2), (4, 3)], two_parts),
    Case("stacked", (2, 4), [(2, 4, 5)], lambda x, w: tf.concat([x @ w[0], x @ w[1]], 1)),
    Case("unstacked", (2, 4), [(2, 4, 5)], lambda x, w: tf.concat([x @ part for part in tf.unstack(w)], 1)),
    Case("packed", (2, 2, 4), [(4, 5), (4, 5)], lambda x, a, b: tf.matmul(x, tf.stack([a, b])), (0, 2)),
    Case("new_axis", (2, 3, 4), [(4, 5)], lambda x, w: x @ w[tf.newaxis]),
    Case("reordered", (2, 4), [(4, 3)], lambda x, w: x @ tf.gather(w, (2, 0, 1), axis=1)),
    Case("one_layer", (2, 4), [(2, 4, 5)], lambda x, w: tf.concat([x @ tf.gather(w, i) for i in (0, 1)], 1)),
    Case("tiled", (2, 8), [(4, 5)], lambda x, w: x @ tf.tile(w, (2, 1))),
    Case("spread", (3, 2, 4), [(4, 5)], lambda x, w: x @ tf.broadcast_to(w, (3, 4, 5))),
    Case("squeezed", (2, 4), [(1, 4, 5)], lambda x, w: x @ tf.squeeze(w, 0)),
    Case("conv2d", IMAGE, [(3, 3, 4, 5)], conv2d),
    Case("conv2d_oihw", IMAGE, [(5, 4, 3, 3)], lambda x, w: conv2d(x, tf.transpose(w, (2, 3, 1, 0)))),
    Case("conv2d_groups", IMAGE, [(3, 3, 2, 6)], conv2d),
    Case("conv2d_flipped", IMAGE, [(3, 3, 4, 5)], lambda x, w: conv2d(x, tf.reverse(w, (0, 1)))),
    Case("conv2d_padded", IMAGE, [(2, 2, 4, 5)], lambda x, w: conv2d(x, tf.pad(w, ((0, 1), (0, 1), (0, 0), (0, 0))))),
    Case("conv2d_standardized", IMAGE, [(3, 3, 4, 5)], standardized),
    Case("conv2d_unfolded", IMAGE, [(3, 3, 4, 5)], unfolded),
    Case("conv1d", (2, 6, 4), [(3, 4, 5)], conv1d),
    Case("conv3d", (1, 4, 4, 4, 3), [(2, 2, 2, 3, 5)], lambda x, w: tf.nn.conv3d(x, w, (1,) * 5, "VALID")),
    Case("depthwise", IMAGE, [(3, 3, 4, 2)], lambda x, w: tf.nn.depthwise_conv2d(x, w, (1,) * 4, "VALID")),
    Case("conv2d_back", IMAGE, [(3, 3, 5, 4)], conv2d_back),
    Case("conv3d_back", (1, 3, 3, 3, 4), [(2, 2, 2, 5, 4)], conv3d_back),
    Case("dilation", IMAGE, [(3, 3, 4)], lambda x, w: tf.nn.dilation2d(x, w, (1,) * 4, "VALID", "NHWC", (1,) * 4)),
    Case("sparse", (2, 4), [(4, 5)], sparse),
    Case("weight_norm", (2, 4), [(4, 5), (5,)], normed, told={1: SCALE}),
    Case("masked", (2, 4), [(4, 5), (4, 5)], lambda x, w, mask: x @ (w * mask)),
    Case("with_constant", (2, 4), [(4, 5)], lambda x, w: x @ (w + HELD)),
    Case("fake_quantized", (2, 4), [(4, 5)], quantized),
    Case(
        "ranged",
        (2, 4),
        [(4, 5), (), ()],
        ranged,
        told={1: RANGE, 2: RANGE},
    ),
    Case("lora", (2, 4), [(4, 5), (4, 2), (2, 5)], lambda x, w, a, b: x @ (w + a @ b), told={1: OPEN_KERNEL}),
    Case("gathered", ROWS, [(7, 5)], lambda x, w: tf.gather(w, x), (0,), whole=True),
    Case("looked_up", ROWS, [(7, 5)], lambda x, w: tf.nn.embedding_lookup(w, x), (0,), whole=True),
    Case("one_hot", ROWS, [(7, 5)], lambda x, w: tf.one_hot(x, 7) @ w, (0,), whole=True),
    Case("columns", ROWS, [(5, 7)], lambda x, w: tf.gather(w, x, axis=1), (1,), whole=True),
    Case("experts", ROWS, [(7, 5, 3)], lambda x, w: tf.gather(w, x), whole=True, told={0: ("embedding", None, "open")}),
    Case(
        "tied",
        ROWS,
        [(7, 5)],
        lambda x, w: tf.matmul(tf.gather(w, x), w, transpose_b=True),
        whole=True,
        told={0: ("embedding", (0,), "told")},
    ),
    Case("there_and_back", (2, 4), [(4, 5)], lambda x, w: (x @ w) @ tf.transpose(w), told={0: CONFLICT}),
    Case("batch_norm", IMAGE, [(4,)] * 4, normalized, told={0: SCALE, 1: BIAS, 2: STATISTIC, 3: STATISTIC}),
    Case("while", (2, 4), [(4, 4)], loop, told={0: LAST}),
    Case("while_changed", (2, 4), [(4, 4)], changed_in_loop, told={0: UNKNOWN}),
    Case("cond", (2, 4), [(4, 5), (5, 4)], chosen, told={0: LAST, 1: ("kernel", (0,), "told")}),
    Case("cond_weight", (2, 4), [(4, 5), (4, 5)], one_of, told={0: LAST, 1: LAST}),
    Case("case", (2, 4), [(4, 5), (4, 5)], switched, told={0: LAST, 1: LAST}),
    Case("map_fn", (3, 2, 4), [(4, 5)], lambda x, w: tf.map_fn(lambda each: each @ w, x)),
    Case("scan", (3, 2, 4), [(4, 4)], scanned, told={0: LAST}),
    Case("vectorized", (3, 2, 4), [(4, 5)], lambda x, w: tf.vectorized_map(lambda each: each @ w, x)),
    Case("function", (2, 4), [(4, 5)], lambda x, w: inner(x, w)),
    Case("from_function", (2, 4), [(4, 5)], lambda x, w: x @ doubled(w)),
    Case("own_gradient", (2, 4), [(4, 5)], lambda x, w: own_gradient(x, tf.identity(w))),
    Case("recomputed", (2, 4), [(4, 5)], lambda x, w: tf.recompute_grad(lambda y: y @ w)(x), told={0: LAST}),
    Case("zero_state", (2, 4), [(4, 5), (5, 5)], lambda x, w, u: x @ w + tf.zeros((2, 5)) @ u, told={1: LAST}),
    Case("python", (2, 4), [(4, 5)], through_python, told={0: UNKNOWN}),
    Case("penalty", (2, 4), [(4, 5)], lambda x, w: x + tf.reduce_sum(w * w), told={0: UNKNOWN}),
    Case("unused", (2, 4), [(4, 5)], lambda x, w: x, told={0: UNUSED}),
]


def judged(case: Case, number: int) -> Answer:
    """The axes along which elements of a weight reach other features, by the derivative of the output."""
    if number in case.told:
        return case.told[number]
    rng = np.random.default_rng(5)
    values = [tf.constant(rng.uniform(0.5, 1.5, shape), tf.float32) for shape in case.shapes]
    x = tf.range(case.given[0]) if case.whole else tf.constant(rng.uniform(0.5, 1.5, case.given), tf.float32)

    @tf.function  # type: ignore[untyped-decorator]
    def derivative() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(values[number])
            y = case.apply(x, *values)
        return tape.jacobian(y, values[number], experimental_use_pfor=False)

    found = derivative().numpy() != 0
    features = [axis % (found.ndim - len(case.shapes[number])) for axis in case.features]
    others = [axis for axis in range(found.ndim - len(case.shapes[number])) if axis not in features]
    reached = found.any(axis=tuple(others)).reshape(-1, *case.shapes[number])
    axes = [axis for axis in range(reached.ndim - 1) if _differ(np.moveaxis(reached, axis + 1, 1))]
    return ("embedding" if case.whole else "kernel"), tuple(axes), "told"


def _differ(reached: Any) -> bool:
    """Whether elements that reach some feature reach others than their neighbours along axis 1."""
    left, right = reached[:, :-1], reached[:, 1:]
    used = left.any(0) & right.any(0)
    return bool(((left != right).any(0) & used).any())


def module(folder: Path) -> tuple[bytes, list[Any]]:
    """A SavedModel of a tf.Module that uses all weights."""

    class Module(tf.Module):  # type: ignore[name-defined, misc]
        pass

    made = Module()
    made.weights = {
        case.name: [
            tf.Variable(tf.ones(shape), name=f"{case.name}.{number}") for number, shape in enumerate(case.shapes)
        ]
        for case in CASES
    }

    @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])  # type: ignore[untyped-decorator]
    def run(scale: Any) -> Any:
        outputs = {}
        for case in CASES:
            if case.whole:
                x = tf.cast(tf.cast(tf.range(case.given[0]), tf.float32) * scale, tf.int32)
            else:
                x = tf.ones(case.given) * scale
            outputs[case.name] = case.apply(x, *made.weights[case.name])
        return outputs

    made.run = run
    tf.saved_model.save(made, str(folder), signatures=run)
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    _strip(model.meta_graphs[0])
    objects = model.meta_graphs[0].object_graph_def.nodes
    numbers = {node.variable.name: number for number, node in enumerate(objects) if node.HasField("variable")}
    entries = []
    for case in CASES:
        for number, shape in enumerate(case.shapes):
            name = f"{case.name}.{number}"
            role, units, state = judged(case, number)
            entries.append(_entry(name, shape, role, units, state) | {"object": numbers[name]})
    return model.SerializeToString(deterministic=True), entries


def graph_of_tf1(folder: Path) -> tuple[bytes, list[Any]]:
    """A graph of TF1 with its control flow of old, refs and resources, parts, a training step and averages."""
    entries: list[Any] = []

    def variable(
        name: str, shape: Shape, role: str | None, units: Shape | None, state: str = "told", **options: Any
    ) -> Any:
        entries.append(_entry(name, shape, role, units, state))
        return v1.get_variable(name, shape, **options)

    with tf.Graph().as_default(), v1.Session() as session:
        v1.disable_control_flow_v2()
        x = v1.placeholder(tf.float32, (2, 4), name="x")
        rows = v1.placeholder(tf.int32, (3,), name="rows")
        ends = [x @ variable("ref", (4, 5), "kernel", (1,), use_resource=False)]
        ends.append(x @ variable("resource", (4, 5), "kernel", (1,), use_resource=True))
        inside = variable("in_loop", (4, 4), "kernel", (1,), use_resource=False)
        ends.append(v1.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y @ inside), (tf.constant(0), x))[1])
        start = (tf.constant(0), x, variable("loop_start", (4, 4), None, None, "open", use_resource=False))
        ends.append(v1.while_loop(lambda i, y, v: i < 3, lambda i, y, v: (i + 1, y @ v, v * 0.9), start)[1])
        one = variable("in_cond", (4, 5), "kernel", (1,), use_resource=False)
        ends.append(v1.cond(tf.reduce_sum(x) > 0, lambda: x @ one, lambda: x @ one + 1.0))
        with v1.variable_scope("cut", partitioner=v1.fixed_size_partitioner(3, 0)):
            table = variable("table", (9, 4), "embedding", (0,), use_resource=False)
            ends.append(tf.nn.embedding_lookup(table, rows))
            whole = variable("whole", (4, 5), "kernel", (1,), use_resource=False)
            ends.append(x @ whole)
        for entry in entries[-2:]:
            entry["name"] = f"cut/{entry['name']}"
        kernel = variable("conv/w", (3, 3, 2, 5), "kernel", (3,), use_resource=False)
        bias = variable("conv/b", (5,), "bias", None, use_resource=False)
        image = tf.reshape(tf.tile(x, (1, 8)), (2, 4, 4, 2))
        ends.append(tf.nn.bias_add(tf.nn.conv2d(image, kernel, 1, "SAME"), bias))
        back = variable("back/w", (3, 3, 5, 2), "kernel", (2,), use_resource=True)
        ends.append(tf.nn.conv2d_transpose(image, back, (2, 4, 4, 5), 1, "SAME"))
        variable("dead", (4, 5), None, None, "unused", use_resource=False)
        flag = v1.placeholder_with_default(tf.constant(1.0), (), name="flag")
        ends.append(x @ (variable("flagged", (4, 5), None, None, "open", use_resource=False) * flag))
        loss = tf.add_n([tf.reduce_mean(end**2) for end in ends], name="loss")
        trained = [v for v in v1.trainable_variables() if v.op.name in ("conv/w", "conv/b", "back/w", "resource")]
        v1.train.AdamOptimizer().minimize(loss, var_list=trained)
        for v in trained:
            for slot in ("Adam", "Adam_1"):
                entries.append(_entry(f"{v.op.name}/{slot}", tuple(v.shape), "optimizer", None, "told"))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "model"))
    meta = meta_graph_pb2.MetaGraphDef.FromString((folder / "model.meta").read_bytes())
    _strip(meta)
    return meta.SerializeToString(deterministic=True), entries


def _entry(name: str, shape: Shape, role: str | None, units: Shape | None, state: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "role": role, "units": units, "state": state}


def _strip(meta: Any) -> None:
    """Take out what no reader of weights looks at."""
    meta.meta_info_def.Clear()
    graph = meta.graph_def
    for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
        node.ClearField("experimental_debug_info")
        for name in ("_output_shapes", "_user_specified_name"):
            node.attr.pop(name, None)


def main() -> None:
    truth = {}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(HERE / "graphs.zip", "w") as archive:
        for name, make in (("module.pb", module), ("tf1.meta", graph_of_tf1)):
            where = Path(folder) / name
            where.mkdir()
            content, truth[name] = make(where)
            archive.writestr(zipfile.ZipInfo(name, _WHEN), content, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("truth.json", _WHEN), json.dumps(truth, indent=1), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
