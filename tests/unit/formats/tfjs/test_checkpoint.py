"""Models of TensorFlow.js: names of outputs, weights across files, and what is told of each weight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, oracle, tfjs_files
from support.files import agrees, bound, look
from support.places import DATA
from support.tfjs_files import HALF, few_bits, layer, layers_model

import renorm_cli
from renorm_cli.fleet.discover import Search
from renorm_cli.formats.registry import wholes

K = builders.kernel((4, 3), (1,))


def told(path: Path) -> dict[str, tuple[str, tuple[int, ...] | None, str | None]]:
    """Role, unit axes where a variable is measured, and class of layer, by name."""
    report = look(path)
    rows = {row.step.variable.name: (row.step.role, row.step.unit_axes, row.step.variable.layer) for row in report.rows}
    return rows | {skip.variable.name: (skip.role, None, skip.variable.layer) for skip in report.skips}


def test_an_output_of_another_name_has_files_of_its_own_whose_names_begin_with_it(tmp_path: Path) -> None:
    source = tfjs_files.write_small(tmp_path)
    shards = sorted(path.name for path in tmp_path.glob("group*"))
    before = source.read_text()
    renorm_cli.apply(source, max_norm=1.0)
    output = tmp_path / "model-renorm.json"
    assert sorted(path.name for path in tmp_path.glob("model-renorm-*")) == [f"model-renorm-{one}" for one in shards]
    assert output.read_text() == before.replace('"group', '"model-renorm-group')
    renorm_cli.apply(output, tmp_path / "again.json", max_norm=1.0)
    assert (tmp_path / "again.json").read_text() == before.replace('"group', '"again-group')
    assert source.read_text() == before


@pytest.mark.parametrize(
    ("model", "path", "output"),
    [
        ("model.json", "./model.weights.bin", "./out.weights.bin"),
        ("m.json", "weights", "out-weights"),
        ("m.json", "./m-1.bin", "./out-1.bin"),
    ],
)
def test_a_path_keeps_what_is_before_the_name_of_its_file(model: str, path: str, output: str, tmp_path: Path) -> None:
    source = tfjs_files.write_tfjs(tmp_path, [[("d/kernel", K, {})]], name=model)
    (tmp_path / "group1-shard1of1.bin").rename(tmp_path / path)
    source.write_text(source.read_text().replace("group1-shard1of1.bin", path))
    renorm_cli.apply(source, tmp_path / "out.json", max_norm=1.0)
    assert json.loads((tmp_path / "out.json").read_text())["weightsManifest"][0]["paths"] == [output]
    if "weights.bin" in path:
        assert wholes([tmp_path / path]) == ([source], [])
    (after,) = tfjs_files.read_tfjs(tmp_path / "out.json").values()
    np.testing.assert_allclose(after, oracle.renorm(K, (1,), 1.0), rtol=1e-6)


def test_two_files_whose_names_would_become_one_stay_two(tmp_path: Path) -> None:
    weights: list[Any] = [[("a/kernel", K, {})], [("b/kernel", 2 * K, {})]]
    source = tfjs_files.write_tfjs(tmp_path, weights, name="m.json")
    text = source.read_text()
    for old, new in (("group1-shard1of1.bin", "x"), ("group2-shard1of1.bin", "m-x")):
        (tmp_path / old).rename(tmp_path / new)
        text = text.replace(old, new)
    source.write_text(text)
    renorm_cli.apply(source, tmp_path / "out.json", max_norm=1.0)
    groups = json.loads((tmp_path / "out.json").read_text())["weightsManifest"]
    assert [group["paths"] for group in groups] == [["out-x"], ["out-m-x"]]
    assert not np.array_equal(*tfjs_files.read_tfjs(tmp_path / "out.json").values())


@pytest.mark.parametrize("shard_bytes", [1, 5, 31, 48])
def test_a_weight_that_lies_in_several_files_is_bounded_in_all_of_them(shard_bytes: int, tmp_path: Path) -> None:
    flags = np.array([True])
    source = tfjs_files.write_tfjs(tmp_path, [[("f", flags, {}), ("d/kernel", K, {})]], shard_bytes=shard_bytes)
    bound(source, tmp_path / "out.json")
    after = tfjs_files.read_tfjs(tmp_path / "out.json")
    np.testing.assert_allclose(after["d/kernel"], oracle.renorm(K, (1,), 1.0), rtol=1e-6)
    assert not oracle.over(after["d/kernel"], (1,), 1.0).any()
    assert after["f"].tobytes() == flags.tobytes()
    assert renorm_cli.diff(source, tmp_path / "out.json", expect_renorm=True, max_norm=1.0).proven


def test_a_manifest_alone_is_a_checkpoint_whose_names_tell(tmp_path: Path) -> None:
    source = tfjs_files.write_tfjs(tmp_path, [[("dense/kernel", K, {})]], bare=True)
    assert told(source) == {"dense/kernel": ("kernel", (1,), "Dense")}
    bound(source, tmp_path / "out.json")
    assert not oracle.over(tfjs_files.read_tfjs(tmp_path / "out.json")["dense/kernel"], (1,), 1.0).any()


def test_the_layers_of_the_config_tell_what_their_weights_are(tmp_path: Path) -> None:
    inner = layer("Functional", "inner", layers=[layer("Conv2DTranspose", "up", filters=3)])
    dense = {"module": "keras.layers"}
    topology = layers_model(inner, layer("Dense", "block/out", units=3) | dense, layer("Dense", "few", units=3))
    cube = np.ones((2, 2, 3, 4), "f4")
    weights: list[Any] = [
        ("up/kernel", cube, {}),
        ("small/block/out/kernel", K, {}),
        ("few/kernel", K.astype("u1"), few_bits("uint8")),
        ("Adam/m/kernel", K, {"group": "optimizer"}),
        ("half/kernel", K.astype("f2"), HALF),
    ]
    path = tfjs_files.write_tfjs(tmp_path, [weights], topology)
    assert told(path) == {
        "up/kernel": ("kernel", (2,), "Conv2DTranspose"),
        "block/out/kernel": ("kernel", (1,), "Dense"),
        "few/kernel": ("quantized", None, "Dense"),
        "Adam/m/kernel": ("optimizer", None, None),
        "half/kernel": ("kernel", (1,), None),
    }
    with renorm_cli.open(path) as source:
        assert [one.dtype for one in source.variables] == ["float32", "float32", "uint8", "float32", "float16"]


@pytest.mark.parametrize("name", ["small", "small/", ":0", "/"])
def test_no_weight_loses_its_whole_name(name: str, tmp_path: Path) -> None:
    with renorm_cli.open(tfjs_files.write_tfjs(tmp_path, [[(name, K, {})]], layers_model())) as source:
        assert [one.name for one in source.variables] == [name]


def test_sizes_as_7_0_and_a_byte_order_mark_are_read_as_javascript_does(tmp_path: Path) -> None:
    source = tfjs_files.write_tfjs(tmp_path, [[("d/kernel", K, {})]])
    rows, columns = K.shape
    source.write_text(source.read_text().replace(f"[{rows}, {columns}]", f"[{rows}.0, {columns}.0]"), "utf-8-sig")
    assert ".0]" in source.read_text("utf-8-sig")
    renorm_cli.apply(source, tmp_path / "out.json", max_norm=1.0)
    with renorm_cli.open(tmp_path / "out.json") as output:
        assert [one.shape for one in output.variables] == [K.shape]


def test_a_constraint_that_the_config_declares_is_known(tmp_path: Path) -> None:
    kept = {"class_name": "MaxNorm", "config": {"max_value": 1.0, "axis": 0}}
    # As tfjs-layers saves a model: the config is the topology, and classes number their layers.
    topology = layers_model(layer("Dense", "dense_Dense1", units=3, kernel_constraint=kept))["model_config"]
    source = tfjs_files.write_tfjs(tmp_path, [[("dense_Dense1/kernel", K, {})]], topology)
    report = renorm_cli.apply(source, tmp_path / "out.json", declared=True)
    assert report.totals.over == 1
    np.testing.assert_allclose(
        tfjs_files.read_tfjs(tmp_path / "out.json")["dense_Dense1/kernel"], oracle.renorm(K, (1,), 1.0), rtol=1e-6
    )


def test_the_nodes_of_a_graph_tell_what_their_weights_are(tmp_path: Path) -> None:
    found = {name: one[:2] for name, one in told(tfjs_files.write_graph(tmp_path)).items()}
    assert found == {
        "turned": ("kernel", (0,)),
        "filter": ("kernel", (3,)),
        "bias": ("bias", None),
        "table": ("embedding", (1,)),
        "flat": ("kernel", (1,)),
        "given": ("kernel", (0,)),
        "axis": ("unknown", None),
        "shape": ("unknown", None),
    }


def test_a_weight_whose_consumers_disagree_is_told_by_its_name_and_a_note_says_what_the_graph_does_not(
    tmp_path: Path,
) -> None:
    products = [tfjs_files.node("MatMul", f"m{turn}", "x", "dense/kernel", transpose_b=turn) for turn in (False, True)]
    nodes = [tfjs_files.node("Const", "dense/kernel"), tfjs_files.node("Placeholder", "x"), *products]
    weights: list[tfjs_files.Weight] = [("dense/kernel", np.ones((4, 4), "f4"), {})]
    path = tfjs_files.write_tfjs(tmp_path, [weights], {"node": nodes})
    assert told(path)["dense/kernel"][1] == (1,)
    (note,) = [str(note) for note in renorm_cli.inspect(path).notes]
    assert note.startswith("'dense/kernel': its consumers tell different unit axes, so the graph tells none of them")


def test_a_file_of_weights_leads_to_its_model_and_a_search_of_folders_takes_the_model_once(tmp_path: Path) -> None:
    source = tfjs_files.write_small(tmp_path)
    renorm_cli.apply(source, tmp_path / "m.json", max_norm=1.0)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model.json").write_text(json.dumps(layers_model(layer("Dense", "d"))["model_config"]))
    parts = sorted(tmp_path.glob("*group2*"))
    assert len(parts) > 2
    found, others = wholes([*parts, tmp_path / "config" / "model.json"])
    assert (sorted(found), others) == ([tmp_path / "m.json", source], [tmp_path / "config" / "model.json"])
    with pytest.raises(renorm_cli.FormatError, match="is a part of the checkpoint"):
        look(parts[0])
    items = list(Search(recursive=True).items([str(tmp_path)]))
    assert sorted(item.path for item in items) == [str(tmp_path / "m.json"), str(source)]
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("group*")}
    assert next(item.bytes for item in items if item.path == str(source)) == sum(sizes.values()) + source.stat().st_size


def test_a_model_that_tensorflow_js_saved_is_read_with_the_classes_of_its_layers(tmp_path: Path) -> None:
    """Recorded: a Sequential of tfjs 4.22, `model.save` with the two parts of what it gives written to files."""
    source = DATA / "tfjs" / "model.json"
    lstm = "bidirectional_Bidirectional1/{}_lstm_LSTM1/{}"
    expected = {
        "embedding_Embedding1/embeddings": ("embedding", (0,), "Embedding"),
        **{
            lstm.format(way, weight): ("kernel", (1,), "LSTM")
            for way in ("forward", "backward")
            for weight in ("kernel", "recurrent_kernel")
        },
        "gru_GRU1/kernel": ("kernel", (1,), "GRU"),
        "gru_GRU1/recurrent_kernel": ("kernel", (1,), "GRU"),
        "conv1d_Conv1D1/kernel": ("kernel", (2,), "Conv1D"),
        "separable_conv2d_SeparableConv2D1/depthwise_kernel": ("kernel", (2, 3), "SeparableConv2D"),
        "separable_conv2d_SeparableConv2D1/pointwise_kernel": ("kernel", (3,), "SeparableConv2D"),
        "dense_Dense1/kernel": ("kernel", (1,), "Dense"),
    }
    found = told(source)
    assert {name: one for name, one in found.items() if one[1] is not None} == expected
    assert sorted(role for role, axes, _ in found.values() if axes is None) == [
        *["bias"] * 7,
        "scale",
        *["statistic"] * 2,
    ]
    bound(source, tmp_path / "out.json", limit=0.5)
    before, after = tfjs_files.read_tfjs(source), tfjs_files.read_tfjs(tmp_path / "out.json")
    for name, array in before.items():
        if name in expected:
            agrees(array, after[name], expected[name][1], 0.5)
        else:
            assert array.tobytes() == after[name].tobytes()


def test_a_model_whose_weights_are_all_quantized_says_so(tmp_path: Path) -> None:
    few = [(f"d{number}/kernel", np.ones((3, 4), "u1"), few_bits("uint8")) for number in range(2)]
    source = tfjs_files.write_tfjs(tmp_path, [[*few, ("steps", np.array(7, "i4"), {})]])
    with pytest.raises(renorm_cli.FormatError, match="no floating variable among its 3, 2 of which are quantized: "):
        renorm_cli.inspect(source)
