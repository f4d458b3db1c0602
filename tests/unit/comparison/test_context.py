"""A proof of a renorm covers what a loader reads besides the variables."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import builders, keras_zoo, msgpack_files, tensor_files, tf_files, torch_files
from support.files import bound
from support.places import SAMPLES

from renorm_cli.api.verbs import diff

LIMIT = 1.0


def of_the_weights(file: Any) -> Any:
    return file["model_weights"]


def reorder_layers(file: Any) -> None:
    of_the_weights(file).attrs["layer_names"] = of_the_weights(file).attrs["layer_names"][::-1]


def reorder_weights(file: Any) -> None:
    group = of_the_weights(file)["hidden"]
    group.attrs["weight_names"] = group.attrs["weight_names"][::-1]


def rename_a_layer(file: Any) -> None:
    config = file.attrs["model_config"]
    config = config if isinstance(config, str) else config.decode()
    file.attrs["model_config"] = config.replace('"relu"', '"tanh"')


def drop(place: str, name: str) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        del file[place].attrs[name]

    return edit


def put(place: str, name: str, value: object) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        file[place].attrs[name] = value

    return edit


def link(file: Any) -> None:
    file["elsewhere"] = h5py.SoftLink("/model_weights/hidden")


def retype(file: Any) -> None:
    text = file.attrs["backend"]
    file.attrs["backend"] = np.bytes_(text if isinstance(text, bytes) else text.encode())


HDF5_EDITS: dict[str, tuple[Callable[[Any], None], str]] = {
    "layers in another order": (reorder_layers, "changed"),
    "weights in another order": (reorder_weights, "changed"),
    "another activation": (rename_a_layer, "changed"),
    "another backend": (put("/", "backend", "jax"), "changed"),
    "a text of another type": (retype, "changed"),
    "another version": (put("model_weights", "keras_version", "1.0"), "changed"),
    "no version": (drop("model_weights", "keras_version"), "missing"),
    "no config": (drop("/", "model_config"), "missing"),
    "no training config": (drop("/", "training_config"), "missing"),
    "an attribute of a group": (put("model_weights/hidden", "trainable", False), "added"),
    "an attribute of a dataset": (put("model_weights/hidden/hidden/kernel", "scale", 2.0), "added"),
    "an attribute of numbers": (put("/", "shape", np.arange(3)), "added"),
    "an empty attribute": (put("/", "nothing", h5py.Empty("f")), "added"),
    "a soft link": (link, "added"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HDF5_EDITS)
def test_an_edit_of_an_hdf5_file_besides_its_variables_is_told_and_nothing_is_proven(name: str, tmp_path: Path) -> None:
    source, output = SAMPLES / "dense.h5", tmp_path / "out.h5"
    bound(source, output)
    assert diff(source, output, expect_renorm=True, max_norm=LIMIT).exit_code == 0
    edit, verdict = HDF5_EDITS[name]
    with h5py.File(output, "r+") as file:
        edit(file)
    report = diff(source, output, expect_renorm=True, max_norm=LIMIT)
    assert (report.proven, report.exit_code) == (False, 1)
    assert [row.verdict for row in report.context or ()] == [verdict]
    assert diff(source, output).context == ()


@pytest.mark.slow
@given(numbers=st.lists(st.floats(width=32), max_size=4), other=st.lists(st.floats(width=32), max_size=4))
def test_attributes_are_alike_where_all_their_bits_are(
    numbers: list[float], other: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("attributes")
    for path, value in (("a.h5", numbers), ("b.h5", other)):
        with h5py.File(folder / path, "w") as file:
            file["w"] = np.ones((2, 2), "float32")
            file.attrs["it"] = np.array(value, "float32")
    report = diff(folder / "a.h5", folder / "b.h5", expect_renorm=True, max_norm=LIMIT)
    alike = np.array(numbers, "float32").tobytes() == np.array(other, "float32").tobytes()
    assert [row.verdict for row in report.context or ()] == ([] if alike else ["changed"])


def test_an_attribute_that_leads_elsewhere_is_not_compared_and_nothing_is_known(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["w"] = np.ones((2, 2), "float32")
        file.attrs["it"] = file["w"].ref
    report = diff(tmp_path / "a.h5", tmp_path / "a.h5", expect_renorm=True, max_norm=2.0)
    assert [row.verdict for row in report.context or ()] == ["not compared"]
    assert (report.proven, report.exit_code) == (False, 2)


@pytest.mark.parametrize("sample", ["dense.keras", "deflated.keras"])
def test_another_config_in_an_archive_is_told(sample: str, tmp_path: Path) -> None:
    source, output = SAMPLES / sample, tmp_path / "out.keras"
    bound(source, output)
    assert diff(source, output, expect_renorm=True, max_norm=LIMIT).exit_code == 0
    with zipfile.ZipFile(output) as old, zipfile.ZipFile(tmp_path / "new.keras", "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename == "config.json":
                content = json.dumps(json.loads(content) | {"edited": True}).encode()
            new.writestr(member, content)
        new.writestr("assets/words.txt", "one")
    report = diff(source, tmp_path / "new.keras", expect_renorm=True, max_norm=LIMIT)
    assert {row.name: row.verdict for row in report.context or ()} == {
        "config.json": "changed",
        "assets/words.txt": "added",
    }
    assert report.exit_code == 1


@pytest.mark.slow
@pytest.mark.filterwarnings(*keras_zoo.WARNINGS)
@pytest.mark.parametrize("name", ["saved_model.pb", "assets/words.txt"])
def test_another_graph_or_asset_of_a_saved_model_is_told(name: str, tmp_path: Path) -> None:
    source = tf_files.export(tmp_path)
    (source / "assets").mkdir(exist_ok=True)
    (source / "assets" / "words.txt").write_text("one")
    bound(source, tmp_path / "out")
    assert diff(source, tmp_path / "out", expect_renorm=True, max_norm=LIMIT).exit_code == 0
    with (tmp_path / "out" / name).open("ab") as file:
        file.write(b"\x42\x00")  # a further field of a message, and two further bytes of a text
    report = diff(source, tmp_path / "out", expect_renorm=True, max_norm=LIMIT)
    assert {row.name: row.verdict for row in report.context or ()} == {name: "changed"}
    assert report.exit_code == 1


@pytest.mark.slow
@pytest.mark.filterwarnings(*keras_zoo.WARNINGS)
def test_another_graph_beside_a_checkpoint_is_told(tmp_path: Path) -> None:
    source = tf_files.saver(tmp_path)
    bound(source, tmp_path / "out")
    assert diff(source, tmp_path / "out", expect_renorm=True, max_norm=LIMIT).exit_code == 0
    (tmp_path / "out.meta").write_bytes((tmp_path / "out.meta").read_bytes() + b"\x42\x00")
    report = diff(source, tmp_path / "out", expect_renorm=True, max_norm=LIMIT)
    assert report.context == ((".meta", "changed"),)
    assert report.exit_code == 1


def test_what_is_no_array_in_a_file_of_flax_is_told(tmp_path: Path) -> None:
    before, after = tmp_path / "a.msgpack", tmp_path / "b.msgpack"
    for path, step in ((before, 1), (after, 2)):
        msgpack_files.write_msgpack(path, {"params": {"Dense_0": {"kernel": np.eye(3, dtype="f4")}}, "step": step})
    assert (
        diff(before, before, max_norm=9, expect_renorm=True).exit_code,
        diff(before, after, max_norm=9, expect_renorm=True).exit_code,
    ) == (0, 1)


WEIGHT = np.eye(3, 4, dtype="f4")
SAVED = {"epoch": 1, "s": "v1"}
RUNS = b"cos\nsystem\n0"  # imported and dropped
DISTRIBUTED: dict[str, tuple[dict[str, Any], dict[str, bytes], list[tuple[str, str]]]] = {
    "the same": (SAVED, {}, []),
    "another number": (SAVED | {"epoch": 2}, {}, [("the item 'epoch': data.pkl", "changed")]),
    "another text": (SAVED | {"s": "v2"}, {}, [("the item 's': data.pkl", "changed")]),
    "what runs when it is read": (SAVED, {"more": RUNS}, [(".metadata: its imports", "changed")]),
    "what runs when a tensor is read": (
        SAVED,
        {"before": RUNS},
        [("the item 'a.weight' from [0, 0]: data.pkl", "changed")],
    ),
    "one value more": (
        SAVED | {"t": None},
        {},
        [
            (".metadata: state_dict_metadata", "changed"),
            *((f"the item 't': {name}", "added") for name in ("data.pkl", "version")),
        ],
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_what_is_no_tensor_in_a_distributed_checkpoint_is_told_and_what_names_the_save_is_not(
    name: str, tmp_path: Path
) -> None:
    values, edit, told = DISTRIBUTED[name]
    torch_files.write_values(tmp_path / "a", WEIGHT, SAVED, "1" * 40)
    (tmp_path / "deeper").mkdir()
    torch_files.write_values(tmp_path / "deeper" / "b", WEIGHT, values, "2" * 40, **edit)
    report = diff(tmp_path / "a", tmp_path / "deeper" / "b", expect_renorm=True, max_norm=LIMIT)
    assert [(row.name, row.verdict) for row in report.context or ()] == told
    assert report.exit_code == (1 if told else 0)


def test_another_file_beside_the_items_of_a_distributed_checkpoint_is_told(tmp_path: Path) -> None:
    for name, lr in (("a", 1), ("b", 2)):
        torch_files.write_values(tmp_path / name, WEIGHT, SAVED, name)
        (tmp_path / name / "meta.pt").write_bytes(torch_files.value_of({"epoch": 1}, name, "meta"))
        (tmp_path / name / "config.json").write_text(str(lr))
        (tmp_path / name / "the item 's': data.pkl").write_text(str(lr))
    report = diff(tmp_path / "a", tmp_path / "b", expect_renorm=True, max_norm=LIMIT)
    assert [row.name for row in report.context or ()] == [
        "the file 'config.json'",
        """the file "the item 's': data.pkl\"""",
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_two_saves_of_the_same_things_are_proven_whatever_the_file_and_the_save_are_called(
    method: int, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        torch_files.write_torch(tmp_path / f"{name}.pt", {"a.weight": WEIGHT}, method=method, prefix=name)
        with zipfile.ZipFile(tmp_path / f"{name}.pt", "a") as archive:
            archive.writestr(f"{name}/.data/serialization_id", name)
    assert diff(tmp_path / "a.pt", tmp_path / "b.pt", expect_renorm=True, max_norm=LIMIT).exit_code == 0
    with zipfile.ZipFile(tmp_path / "b.pt", "a") as archive:
        archive.writestr("b/extra/.data/serialization_id", "")
    report = diff(tmp_path / "a.pt", tmp_path / "b.pt", expect_renorm=True, max_norm=LIMIT)
    assert [(row.name, row.verdict) for row in report.context or ()] == [("extra/.data/serialization_id", "added")]


def test_a_member_in_no_folder_does_not_stand_for_the_pickle_that_pytorch_reads(tmp_path: Path) -> None:
    for name, array in (("a", WEIGHT), ("b", WEIGHT[:2])):
        torch_files.write_torch(tmp_path / f"{name}.pt", {"a.weight": array})
    with zipfile.ZipFile(tmp_path / "a.pt") as one, zipfile.ZipFile(tmp_path / "b.pt", "a") as other:
        other.writestr("data.pkl", one.read("m/data.pkl"))
    report = diff(tmp_path / "a.pt", tmp_path / "b.pt", expect_renorm=True, max_norm=LIMIT)
    assert [(row.name, row.verdict) for row in report.context or ()] == [("data.pkl", "not compared")]


def _safetensors_index(folder: Path) -> Path:
    return tensor_files.write_index(folder / "m.safetensors.index.json", [{"a.weight": WEIGHT}, {"l.weight": WEIGHT}])


def _torch_index(folder: Path) -> Path:
    for number, name in enumerate(("a.weight", "l.weight"), 1):
        torch_files.write_torch(folder / f"m-{number}.bin", {name: WEIGHT})
    index = folder / "m.bin.index.json"
    weight_map = {"a.weight": "m-1.bin", "l.weight": "m-2.bin"}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def _keras_index(folder: Path) -> Path:
    index = folder / "m.weights.json"
    own = [WEIGHT, np.zeros(4, "f4")]
    builders.write_sharded(index, [{"layers/dense": ("dense", own)}, {"layers/dense_1": ("dense_1", own)}])
    return index


@pytest.mark.parametrize("made", [_safetensors_index, _torch_index, _keras_index])
def test_another_key_or_other_metadata_in_an_index_of_shards_is_told_and_another_name_of_a_shard_is_not(
    made: Callable[[Path], Path], tmp_path: Path
) -> None:
    source = made(tmp_path)
    output = tmp_path / f"out{source.name[1:]}"
    bound(source, output)
    index = json.loads(output.read_text())
    assert index["weight_map"].values() != json.loads(source.read_text())["weight_map"].values()

    def told(**edit: Any) -> list[tuple[str, str]]:
        output.write_text(json.dumps(index | edit))
        report = diff(source, output, expect_renorm=True, max_norm=LIMIT)
        assert report.exit_code == (1 if report.context else 0)
        return [(row.name, row.verdict) for row in report.context or ()]

    *others, (_, file) = index["weight_map"].items()
    assert told() == []
    assert told(weight_map={**dict(others), "zzz": file}) == [("'weight_map' of the index", "changed")]
    assert told(metadata={"total_size": 2}) == [("'metadata' of the index", "changed")]


def test_files_of_two_formats_are_not_proven_since_what_else_they_hold_cannot_be_compared(tmp_path: Path) -> None:
    bound(SAMPLES / "dense.h5", tmp_path / "out.h5")
    wanted: dict[str, Any] = {"include": "*/kernel", "expect_renorm": True, "max_norm": LIMIT}
    with h5py.File(SAMPLES / "dense.h5") as file, h5py.File(tmp_path / "plain.h5", "w") as plain:
        file.copy("model_weights/hidden/hidden", plain, "hidden")
    with h5py.File(tmp_path / "plain.h5") as file, h5py.File(tmp_path / "keras.weights.h5", "w") as other:
        other.create_group("layers/hidden/vars")
        file.copy("hidden/kernel", other, "hidden/kernel")
        file.copy("hidden/bias", other, "hidden/bias")
    report = diff(tmp_path / "plain.h5", tmp_path / "keras.weights.h5", **wanted)
    assert report.context is None
    assert (report.proven, report.exit_code) == (False, 2)
    with h5py.File(tmp_path / "keras.weights.h5", "r+") as other:
        other["hidden/kernel"][0, 0] *= -1  # a variable alone tells that it is no renorm
    report = diff(tmp_path / "plain.h5", tmp_path / "keras.weights.h5", **wanted)
    assert (report.context, report.exit_code) == (None, 1)


def test_a_config_in_after_does_not_tell_the_units_of_a_proof(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((6, 4, 5)).astype("float32")
    shrunk = values * np.random.default_rng(1).uniform(0.1, 1, values.shape).astype("float32")
    layer = {"class_name": "EinsumDense", "config": {"name": "mixer", "equation": "ab,cde->acdeb", "output_shape": [1]}}
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
    for path, kernel in (("before.h5", values), ("after.h5", shrunk)):
        with h5py.File(tmp_path / path, "w") as file:
            top = file.create_group("model_weights")
            top.attrs["layer_names"] = np.array([b"mixer"])
            group = top.create_group("mixer")
            group.attrs["weight_names"] = np.array([b"mixer/kernel"])
            group["mixer/kernel"] = kernel
            if path == "after.h5":
                file.attrs["model_config"] = json.dumps(config)
    told = diff(tmp_path / "before.h5", tmp_path / "after.h5")
    assert [row.verdict for row in told.rows] == ["pure renorm"]  # AFTER says that every element is a unit
    report = diff(tmp_path / "before.h5", tmp_path / "after.h5", expect_renorm=True, max_norm=9.0)
    assert [row.verdict for row in report.rows] == ["other"]
    assert report.exit_code == 1


def test_what_is_a_renorm_by_guessed_axes_alone_is_not_proven_until_they_are_said(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((3, 4, 5)).astype("float32")
    for path, kernel in (("before.h5", values), ("after.h5", values * np.float32(0.5))):
        with h5py.File(tmp_path / path, "w") as file:
            file["mixer/kernel"] = kernel
    files = (tmp_path / "before.h5", tmp_path / "after.h5")
    guessed = diff(*files, expect_renorm=True, max_norm=9.0)
    assert [row.verdict for row in guessed.rows] == ["pure renorm"]
    assert (guessed.proven, guessed.exit_code) == (False, 2)
    said = diff(*files, expect_renorm=True, max_norm=9.0, units=-1)
    assert (said.proven, said.exit_code) == (True, 0)
