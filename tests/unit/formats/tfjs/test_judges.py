"""Models of TensorFlow.js against the libraries that own them: TensorFlow.js under Node, and graphs of TensorFlow."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, oracle, tfjs_files
from support.files import bound, look
from support.tfjs_files import layer, layers_model

pytestmark = pytest.mark.slow

READ = """
const fs = require('fs'), path = require('path'), tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-backend-cpu');
const told = JSON.parse(fs.readFileSync(process.argv[1])), found = {};
const bytes = (group) => {
  const folder = path.dirname(process.argv[1]);
  const whole = Buffer.concat(group.paths.map((name) => fs.readFileSync(path.join(folder, name))));
  return whole.buffer.slice(whole.byteOffset, whole.byteOffset + whole.length);
};
"""
DECODE = """
for (const group of told.weightsManifest)
  for (const [name, tensor] of Object.entries(tf.io.decodeWeights(bytes(group), group.weights)))
    found[name] = Array.from(tensor.dtype === 'complex64' ? tf.real(tensor).dataSync() : tensor.dataSync());
console.log(JSON.stringify(found));
"""
PREDICT = """
const layers = require('@tensorflow/tfjs-layers'), [group] = told.weightsManifest;
const stored = {modelTopology: told.modelTopology, weightSpecs: group.weights, weightData: bytes(group)};
layers.loadLayersModel(tf.io.fromMemory(stored)).then((model) =>
  console.log(JSON.stringify(Array.from(model.predict(tf.tensor2d([[1, -2, 3, 0.5]])).dataSync()))));
"""


def node(script: str, path: Path) -> Any:
    """What a script prints; skips where Node, or a package of TensorFlow.js that it takes, is not there."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed")
    done = subprocess.run([program, "-e", READ + script, str(path)], capture_output=True, text=True, check=False)
    if "MODULE_NOT_FOUND" in done.stderr:
        pytest.skip("the packages of TensorFlow.js are not in NODE_PATH")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def meant(path: Path) -> dict[str, np.ndarray]:
    """The numbers that stored ones mean."""
    found = tfjs_files.read_tfjs(path)
    for group in json.loads(path.read_text())["weightsManifest"]:
        for weight in group["weights"]:
            how = weight.get("quantization", {})
            if "scale" in how:
                found[weight["name"]] = found[weight["name"]].astype("f4") * how["scale"] + how["min"]
    return found


@pytest.mark.parametrize("shard_bytes", [70, 4 << 20])
def test_tensorflow_js_reads_from_an_output_what_was_bounded_and_all_else_as_it_was(
    shard_bytes: int, tmp_path: Path
) -> None:
    weights, topology = tfjs_files.small_weights(), tfjs_files.small_topology()
    source = tfjs_files.write_tfjs(tmp_path, weights, topology, shard_bytes=shard_bytes)
    output = tmp_path / "out.json"
    bound(source, output)
    before, after = meant(source), node(DECODE, output)
    assert before.keys() == after.keys()
    for name, array in before.items():
        expected = array
        if name in tfjs_files.SMALL_KERNELS:
            expected = oracle.renorm(array, tfjs_files.SMALL_KERNELS[name], 1.0)
            assert np.abs(expected - array).max() > 0.1
        if array.dtype.hasobject:
            assert after[name] == list(array)
        else:
            np.testing.assert_allclose(np.array(after[name]), expected.real.reshape(-1), rtol=2**-10, atol=1e-6)


def test_a_bounded_model_of_layers_predicts_in_tensorflow_js_what_its_bounded_weights_say(tmp_path: Path) -> None:
    first, second = builders.kernel((4, 5), (1,), 1), builders.kernel((5, 3), (1,), 2)
    topology = layers_model(
        layer("Dense", "hid", units=5, activation="relu", batch_input_shape=[None, 4], use_bias=True),
        layer("Dense", "out", units=3, use_bias=False),
    )
    bias = np.arange(5, dtype="f4") / 10
    weights: list[Any] = [("hid/kernel", first, {}), ("hid/bias", bias, {}), ("out/kernel", second, {})]
    source, output = tfjs_files.write_tfjs(tmp_path, [weights], topology, shard_bytes=33), tmp_path / "out.json"
    bound(source, output)
    hidden = np.array([1, -2, 3, 0.5]) @ oracle.renorm(first, (1,), 1.0) + bias
    expected = np.maximum(hidden, 0) @ oracle.renorm(second, (1,), 1.0)
    np.testing.assert_allclose(node(PREDICT, output), expected, rtol=1e-5, atol=1e-6)


def frozen(folder: Path) -> tuple[Path, dict[str, tuple[int, ...]]]:
    """A graph that TensorFlow froze, as a model of TensorFlow.js; and the unit axes of its constants, by their names.

    The constants lie in the files of weights, and the JSON is that of protocol buffers, as tfjs-converter writes both.
    """
    tf = pytest.importorskip("tensorflow")
    from google.protobuf.json_format import MessageToDict
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    made = {
        "dense": ((12, 5), (1,)),
        "turned": ((3, 5), (0,)),
        "filter": ((3, 3, 2, 4), (3,)),
        "deep": ((3, 3, 4, 2), (2, 3)),
        "up": ((3, 3, 6, 8), (2,)),
        "table": ((7, 12), (0,)),
    }
    held = {
        name: tf.Variable(builders.kernel(*one, place), name=name) for place, (name, one) in enumerate(made.items())
    }

    @tf.function(input_signature=[tf.TensorSpec([2, 8, 8, 2]), tf.TensorSpec([2], tf.int32)])
    def run(image: Any, ids: Any) -> Any:
        found = tf.nn.relu(tf.nn.conv2d(image, held["filter"], 1, "SAME"))
        found = tf.nn.depthwise_conv2d(found, held["deep"], [1, 1, 1, 1], "SAME")
        found = tf.nn.conv2d_transpose(found, held["up"], [2, 8, 8, 6], 1)
        rows = tf.matmul(tf.gather(held["table"], ids), held["dense"])
        return found, tf.matmul(rows, held["turned"], transpose_b=True)

    definition = convert_variables_to_constants_v2(run.get_concrete_function()).graph.as_graph_def()
    weights, axes = [], {}
    for one in definition.node:
        if one.op == "Const":
            array = tf.make_ndarray(one.attr["value"].tensor)
            weights.append((one.name, array, {}))
            own = [name for name, variable in held.items() if np.array_equal(variable.numpy(), array)]
            axes |= {one.name: made[own[0]][1]} if own else {}
            one.attr["value"].tensor.Clear()
    assert len(axes) == len(made)
    return tfjs_files.write_tfjs(folder, [weights], MessageToDict(definition), shard_bytes=1000), axes


def test_the_graph_that_tensorflow_froze_tells_the_unit_axes_of_its_constants(tmp_path: Path) -> None:
    path, axes = frozen(tmp_path)
    rows = look(path).rows
    assert {row.step.variable.name: row.step.unit_axes for row in rows} == axes
    assert {row.step.axis_source for row in rows} == {"graph"}
    bound(path, tmp_path / "out.json")
    after = tfjs_files.read_tfjs(tmp_path / "out.json")
    assert not any(oracle.over(after[name], own, 1.0).any() for name, own in axes.items())
