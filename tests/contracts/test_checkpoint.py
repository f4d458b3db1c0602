"""The contract of every format: what is asked for is bounded in the file, everything else keeps its bytes."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import builders, oracle, peek
from support.effort import examples
from support.files import MANIFEST, WHOLE, agrees, bound, look
from support.places import SAMPLES

from renorm_cli.api.verbs import apply
from renorm_cli.errors import FormatError, RenormError
from renorm_cli.norms import policy

IN_HDF5 = [entry for entry in WHOLE if entry["file"].endswith((".h5", ".hdf5", ".keras", ".weights.json"))]
"""Samples that h5py can look into; each other format has tests of its own, by its own library."""

ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}


@pytest.mark.parametrize("entry", WHOLE, ids=lambda entry: str(entry["file"]))
def test_every_dataset_of_a_sample_is_accounted_for_and_the_right_ones_are_constrained(entry: dict[str, Any]) -> None:
    report = look(SAMPLES / entry["file"], MANIFEST["limit"])
    assert report.totals.variables == report.totals.constrained + report.totals.skipped == entry["datasets"]
    assert {(r.step.variable.name, r.step.variable.key, r.step.unit_axes, r.units, r.over) for r in report.rows} == {
        (v["name"], v["key"], tuple(v["unit_axes"]), v["units"], v["over"]) for v in entry["constrained"]
    }


@pytest.mark.slow
@pytest.mark.parametrize("entry", IN_HDF5, ids=lambda entry: str(entry["file"]))
def test_apply_bounds_what_the_manifest_names_and_touches_nothing_else(entry: dict[str, Any], tmp_path: Path) -> None:
    source = SAMPLES / entry["file"]
    output, again = tmp_path / f"out.{entry['file']}", tmp_path / f"again.{entry['file']}"
    report = bound(source, output)
    before, after = peek.arrays(source), peek.arrays(output)
    assert before.keys() == after.keys()
    constrained = {one["key"]: tuple(one["unit_axes"]) for one in entry["constrained"]}
    for key, array in before.items():
        if key in constrained:
            agrees(array, after[key], constrained[key], 1.0)
        else:
            assert array.tobytes() == after[key].tobytes()
    assert report.totals.over == entry["over"]
    for old, new in zip(peek.images(source).values(), peek.images(output).values(), strict=True):
        assert peek.facts(old) == peek.facts(new)
    assert bound(output, again).totals.over == 0
    assert list(peek.images(output).values()) == list(peek.images(again).values())


@pytest.mark.parametrize("name", ["dense.h5", "dense.weights.h5", "dense_keras2.h5", "dense_keras2_weights.h5"])
def test_outside_the_extents_of_contiguous_data_every_byte_is_kept(name: str, tmp_path: Path) -> None:
    report = bound(SAMPLES / name, tmp_path / name)
    before, after = (np.frombuffer(path.read_bytes(), np.uint8) for path in (SAMPLES / name, tmp_path / name))
    allowed = np.zeros(before.size, dtype=bool)
    with h5py.File(SAMPLES / name) as file:
        for row in report.rows:
            dataset = file[row.step.variable.key]
            allowed[dataset.id.get_offset() : dataset.id.get_offset() + dataset.nbytes] = True
    changed = before != after
    assert changed.any()
    assert not (changed & ~allowed).any()


def test_a_keras_archive_patched_in_place_changes_only_weights_and_their_two_checksums(tmp_path: Path) -> None:
    source, output = SAMPLES / "dense.keras", tmp_path / "out.keras"
    bound(source, output)
    before, after = (np.frombuffer(path.read_bytes(), np.uint8) for path in (source, output))
    with zipfile.ZipFile(source) as archive:
        info = archive.getinfo("model.weights.h5")
        payload = info.header_offset + 30 + len(info.filename)
        central = source.read_bytes().rindex(b"PK\x01\x02", 0, archive.start_dir + 4096)
    outside = np.flatnonzero(before != after)
    outside = outside[(outside < payload) | (outside >= payload + info.file_size)]
    assert set(outside) <= {
        *range(info.header_offset + 14, info.header_offset + 18),
        *range(central + 16, central + 20),
    }


def test_the_checksum_of_an_archive_is_that_of_its_bytes_where_units_were_written_more_than_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among subnormal numbers a product may be rounded up, so that it is tried again with a smaller factor."""
    again: list[int] = []
    reduce = policy.reduce
    monkeypatch.setattr(policy, "reduce", lambda *arguments: again.append(arguments[2]) or reduce(*arguments))
    kernel = np.random.default_rng(0).integers(1, 1000, (512, 256)).astype(np.float32) * np.float32(2.0**-149)
    weights = {"dense": {"kernel": kernel, "bias": np.ones(256, np.float32)}}
    source, output = tmp_path / "in.keras", tmp_path / "out.keras"
    builders.write_keras(source, builders.dense_config(weights), builders.v3_layers(weights))
    bound(source, output, limit=2.0**-136)
    assert again
    with zipfile.ZipFile(output) as archive:
        assert archive.testzip() is None
    assert oracle.unit_norms(read_keras_kernel(output), (1,)).max() <= 2.0**-136


def read_keras_kernel(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        found: np.ndarray = file["layers/dense/vars/0"][()]
        return found


FILTERS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (5, 3)},
    "gzip": {"compression": "gzip", "chunks": (5, 3)},
    "gzip, shuffle, fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (40, 2)},
    "lzf": {"compression": "lzf", "chunks": (64, 6)},
    "fletcher32": {"fletcher32": True, "chunks": (7, 6)},
}


STORED = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8", "bfloat16")
FILE_OPTIONS: dict[str, dict[str, Any]] = {"plain": {}, "userblock": {"userblock": 512}, "latest": {"libver": "latest"}}
PAIRS = [
    (dtype, filters, tuple(FILE_OPTIONS)[(row + column) % len(FILE_OPTIONS)])
    for row, dtype in enumerate(STORED)
    for column, filters in enumerate(FILTERS)
]
"""Every dtype with every filter; every file option with each dtype and with each filter."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "kwargs", "options"),
    [(dtype, FILTERS[filters], FILE_OPTIONS[option]) for dtype, filters, option in PAIRS],
    ids=["-".join(names) for names in PAIRS],
)
def test_any_layout_filter_byte_order_and_userblock_is_bounded_and_stays_what_it_is(
    tmp_path: Path, kwargs: dict[str, Any], dtype: str, options: dict[str, Any]
) -> None:
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    kernel = builders.kernel((64, 6)).astype(kind)
    source, output, again = tmp_path / "in.h5", tmp_path / "out.h5", tmp_path / "again.h5"
    builders.write_h5(source, {"dense/kernel": kernel}, **kwargs, **options)
    with h5py.File(source, "r+") as file:
        file.create_dataset("dense/bias", data=np.full(6, 9.0, "<f4"))
        file["dense"].attrs["note"] = "kept"
    block = source.read_bytes()[:512]
    bound(source, output)
    agrees(kernel, peek.arrays(output)["dense/kernel"], (1,), 1.0)
    assert peek.facts(source.read_bytes()) == peek.facts(output.read_bytes())
    assert peek.arrays(output)["dense/bias"].tolist() == [9.0] * 6
    if "userblock" in options:
        assert output.read_bytes()[:512] == block
    bound(output, again)
    assert output.read_bytes() == again.read_bytes()


def test_compact_data_is_bounded(tmp_path: Path) -> None:
    source, output = tmp_path / "in.h5", tmp_path / "out.h5"
    kernel = builders.kernel((8, 4))
    with h5py.File(source, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        group = file.create_group("dense")
        space, kind = h5py.h5s.create_simple(kernel.shape), h5py.h5t.IEEE_F32LE
        h5py.h5d.create(group.id, b"kernel", kind, space, plist).write(h5py.h5s.ALL, h5py.h5s.ALL, kernel)
    bound(source, output)
    agrees(kernel, peek.arrays(output)["dense/kernel"], (1,), 1.0)


def test_scaleoffset_is_skipped_with_the_reason_and_an_error_when_selected(tmp_path: Path) -> None:
    source = tmp_path / "in.h5"
    with h5py.File(source, "w") as file:
        file["dense/kernel"] = builders.kernel((8, 4))
        file.create_dataset("lossy/kernel", data=builders.kernel((8, 4)), scaleoffset=3, chunks=(4, 4))
    (skip,) = look(source).skips
    assert "scaleoffset" in skip.reason
    for include in ((), ("lossy/*",)):
        with pytest.raises(FormatError, match=r"'lossy/kernel' is selected but is not readable: .*scaleoffset"):
            bound(source, tmp_path / "out.h5", *include)
    assert not (tmp_path / "out.h5").exists()
    assert bound(source, tmp_path / "out.h5", "dense/*").totals.constrained == 1


def test_a_file_that_names_anything_outside_itself_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    builders.write_h5(secret, {"a/kernel": builders.kernel((8, 4))})
    kernel = builders.kernel((8, 4))
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["dense/kernel"] = kernel
        file["dense/stolen"] = h5py.ExternalLink("secret.h5", "a/kernel")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["dense/kernel"] = kernel
        file.create_dataset("out/kernel", (8, 4), "f4", external=[("raw.bin", 0, 128)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file["dense/kernel"] = kernel
        layout = h5py.VirtualLayout((8, 4), "f4")
        layout[:] = h5py.VirtualSource("secret.h5", "a/kernel", (8, 4))
        file.create_virtual_dataset("out/kernel", layout)
    before = secret.read_bytes()
    for name in ("link.h5", "external.h5", "virtual.h5"):
        with pytest.raises(FormatError, match="outside"):
            look(tmp_path / name)
        with pytest.raises(FormatError, match="outside"):
            bound(tmp_path / name, tmp_path / "out.h5", "dense/*")
    assert secret.read_bytes() == before


def test_soft_links_are_listed_and_left_alone_and_hard_links_are_one_variable(tmp_path: Path) -> None:
    source, output = tmp_path / "in.h5", tmp_path / "out.h5"
    kernel = builders.kernel((8, 4))
    with h5py.File(source, "w") as file:
        file["dense/kernel"] = kernel
        file["tied/weights"] = file["dense/kernel"]
        file["soft"] = h5py.SoftLink("/dense/kernel")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["dense/up"] = file["/"]
    report = bound(source, output)
    assert report.totals.variables == 1
    assert report.rows[0].step.variable.aliases == ("tied/weights",)
    assert [note.text for note in report.notes] == [
        "soft link 'dangling' to '/nowhere': left alone",
        "soft link 'soft' to '/dense/kernel': left alone",
    ]
    with h5py.File(output) as file:
        assert file["dense/kernel"] == file["tied/weights"]
        assert file.get("soft", getlink=True).path == "/dense/kernel"
        agrees(kernel, file["tied/weights"][:], (1,), 1.0)
    assert bound(source, tmp_path / "two.h5", "tied/*").totals.constrained == 1


def shared_layer(path: Path, *, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """A legacy file in which two top-level layers hold a layer of one name."""
    one = builders.kernel((8, 4))
    two = one if same else builders.kernel((8, 4), seed=5)
    weights = {"shared": {"inner/shared/kernel": one}, "inner": {"inner/shared/kernel": two}}
    inner = {
        "class_name": "Functional",
        "config": {"name": "inner", "layers": [builders.layer_config("Dense", "shared", units=4)]},
    }
    config = builders.sequential_config([builders.layer_config("Dense", "shared", units=4), inner])
    builders.write_legacy(path, weights, config=config)
    return one, two


def test_a_layer_that_a_legacy_file_stores_twice_has_one_name_and_both_copies_change(tmp_path: Path) -> None:
    source, output = tmp_path / "in.h5", tmp_path / "out.h5"
    kernel, _ = shared_layer(source, same=True)
    keys = ["model_weights/shared/inner/shared/kernel", "model_weights/inner/inner/shared/kernel"]
    report = bound(source, output, keys[0])
    (row,) = report.rows
    assert {variable.key for variable in row.step.stored} == set(keys)
    assert (report.totals.constrained, report.totals.units, report.totals.copies) == (1, 4, 1)
    assert any("is changed with it" in note.text for note in report.notes)
    for key in keys:
        agrees(kernel, peek.arrays(output)[key], (1,), 1.0)


def test_two_layers_of_one_name_with_other_values_are_two_variables(tmp_path: Path) -> None:
    source = tmp_path / "in.h5"
    shared_layer(source, same=False)
    names = [row.step.variable.name for row in look(source).rows]
    assert len(set(names)) == 2
    assert bound(source, tmp_path / "out.h5", names[0]).totals.constrained == 1


def zipped(path: Path, **kwargs: Any) -> dict[str, np.ndarray]:
    weights = builders.two_dense()
    builders.write_keras(path, builders.dense_config(weights), builders.v3_layers(weights), **kwargs)
    return peek.arrays(path)


ARCHIVES: dict[str, dict[str, Any]] = {
    "stored": {},
    "deflated": {"compression": zipfile.ZIP_DEFLATED},
    "with a prefix": {"prefix": b"#!/bin/true\n"},
    "with assets": {"extra": {"assets/vocabulary.txt": b"words\n"}},
    "chunked inside": {"chunks": True, "compression": zipfile.ZIP_STORED},
}


@pytest.mark.parametrize("kwargs", ARCHIVES.values(), ids=ARCHIVES)
def test_every_kind_of_archive_is_bounded_and_its_other_members_keep_their_bytes(
    tmp_path: Path, kwargs: dict[str, Any]
) -> None:
    source, output, again = tmp_path / "in.keras", tmp_path / "out.keras", tmp_path / "again.keras"
    before = zipped(source, **kwargs)
    bound(source, output)
    after = peek.arrays(output)
    agrees(before["layers/dense/vars/0"], after["layers/dense/vars/0"], (1,), 1.0)
    assert np.array_equal(before["layers/dense/vars/1"], after["layers/dense/vars/1"])
    with zipfile.ZipFile(source) as one, zipfile.ZipFile(output) as two:
        for old, new in zip(one.infolist(), two.infolist(), strict=True):
            assert (old.filename, old.date_time, old.compress_type) == (new.filename, new.date_time, new.compress_type)
            assert old.filename == "model.weights.h5" or one.read(old) == two.read(new)
    bound(output, again)
    assert output.read_bytes() == again.read_bytes()


def test_an_archive_without_hdf5_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.npz", b"")
    with pytest.raises(FormatError, match="pickled npz, which is never unpickled"):
        look(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FormatError, match=r"is a zip archive without model\.weights\.h5"):
        look(path)


def sharded(folder: Path) -> Path:
    weights = builders.v3_layers(builders.two_dense())
    index = folder / "model.weights.json"
    builders.write_sharded(index, [{group: layer} for group, layer in weights.items()])
    return index


def test_sharded_weights_are_written_under_the_names_keras_looks_for(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    before = peek.arrays(index)
    bound(index, tmp_path / "small.weights.json")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("small")) == [
        "small.weights.json",
        "small_00000.weights.h5",
        "small_00001.weights.h5",
    ]
    after = peek.arrays(tmp_path / "small.weights.json")
    agrees(before["layers/dense/vars/0"], after["layers/dense/vars/0"], (1,), 1.0)
    assert np.array_equal(peek.arrays(index)["layers/dense/vars/0"], before["layers/dense/vars/0"])


def test_sharded_weights_are_replaced_in_place_and_no_journal_stays(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    before, names = peek.arrays(index), sorted(path.name for path in tmp_path.iterdir())
    bound(index, None, in_place=True)
    agrees(before["layers/dense_1/vars/0"], peek.arrays(index)["layers/dense_1/vars/0"], (1,), 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_half_replaced_checkpoint_is_refused_until_the_apply_is_repeated(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    bound(index, tmp_path / "new.weights.json")
    moves = []
    for name in ("model_00000.weights.h5", "model_00001.weights.h5", "model.weights.json"):
        temporary = tmp_path / f".renorm-1-0-{name}"
        content = (tmp_path / name.replace("model", "new")).read_bytes()
        temporary.write_bytes(content.replace(b"new_0", b"model_0"))
        moves.append([temporary.name, name])
    index.unlink()
    (tmp_path / ".renorm-1-0-model_00000.weights.h5").replace(tmp_path / "model_00000.weights.h5")
    (tmp_path / ".renorm-journal-model.weights.json").write_text(json.dumps(moves))
    with pytest.raises(FormatError, match="half replaced: a run was killed while it published; repeat that `apply`"):
        look(index)
    assert bound(index, None, in_place=True).totals.over == 0
    assert look(index, 1.0).holds
    assert not list(tmp_path.glob(".renorm-*"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "no checkpoint of a known format"),
        ("{}", "no checkpoint of a known format"),
        ('{"layers": {}, "weightsMap": []}', "no checkpoint of a known format"),
        ('{"layers": {"weight_map": {}}}', "it has no weight_map"),
        ('{"weight_map"', "not JSON"),
        ('{"weight_map": {}}', "no weight_map"),
        ('{"weight_map": []}', "no weight_map"),
        ('{"weight_map": {"/a/vars": 3}}', "names the shard 3"),
        ('{"weight_map": {"/a/vars": ["../secret.weights.h5"]}}', "names the shard"),
        ('{"weight_map": {"/a/vars": "/etc/passwd"}}', "names the shard"),
        ('{"weight_map": {"/a/vars": ["a\\\\b"]}}', "names the shard"),
        ('{"weight_map": {"/a/vars": ["gone_00000.weights.h5"]}}', "no such file"),
        ('{"weight_map": {"/a/vars": ["link.weights.h5"]}}', "cannot be opened"),
        ("[" * 100_000, "no checkpoint of a known format"),
        ('{"a":' * 100_000, "no checkpoint of a known format"),
        ('{"weight_map":' * 100_000, "not JSON"),
    ],
)
def test_a_map_that_is_wrong_or_names_files_elsewhere_is_refused(tmp_path: Path, content: str, what: str) -> None:
    builders.write_v3(tmp_path / "real.weights.h5", builders.v3_layers(builders.two_dense()))
    (tmp_path / "link.weights.h5").symlink_to("real.weights.h5")
    index = tmp_path / "m.weights.json"
    index.write_text(content)
    with pytest.raises(FormatError, match=what):
        look(index)


def test_a_dataset_in_two_shards_is_refused(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    shutil.copy(tmp_path / "model_00000.weights.h5", tmp_path / "model_00001.weights.h5")
    with pytest.raises(FormatError, match="two shards hold 'layers/dense/vars/0'"):
        look(index)


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(cut=st.floats(0, 1), name=st.sampled_from(["dense.h5", "dense.keras", "deflated.keras", "dense.weights.json"]))
def test_a_file_cut_short_anywhere_is_an_error_or_still_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: float, name: str
) -> None:
    path = tmp_path_factory.mktemp("cut") / name
    raw = (SAMPLES / name).read_bytes()
    path.write_bytes(raw[: int(len(raw) * cut)])
    whole = look(SAMPLES / name).totals.variables
    with contextlib.suppress(RenormError):
        assert look(path).totals.variables == whole


def test_an_input_that_changes_during_the_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.h5"
    builders.write_h5(path, {"dense/kernel": builders.kernel((8, 4))})

    class Meddler:
        def start(self, total: int, doing: str) -> None: ...

        def advance(self, nbytes: int) -> None:
            with path.open("r+b") as file:
                file.seek(0, 2)
                file.write(struct.pack("d", 1.0))

    with pytest.raises(FormatError, match="changed while it was read"):
        apply(path, tmp_path / "out.h5", max_norm=1.0, meter=Meddler())
    assert [one.name for one in tmp_path.iterdir()] == ["in.h5"]
