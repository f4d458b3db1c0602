"""TensorFlow's own formats: what `apply` writes is restored by TensorFlow and is what the oracle says."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, keras_zoo, raw_tables, tf_files
from support.files import agrees, bound, look
from support.places import TESTS

from renorm_cli.api.verbs import check
from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.registry import locate, open_checkpoint
from renorm_cli.formats.tensorflow.leveldb import read_table

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

Make = Callable[[Path], Path]
KERNEL, UP = builders.kernel((12, 6)), builders.kernel((2, 2, 4, 3), (2,), seed=1)
DENSE = builders.two_dense()

CHECKPOINTS: dict[str, tuple[Make, dict[str, tuple[int, ...]]]] = {
    "saver": (tf_files.saver, {"dense/kernel": (1,), "conv2d_transpose/kernel": (2,)}),
    "partitioned by rows": (
        lambda folder: tf_files.saver(folder, partitions=5),
        {"dense/kernel": (1,), "conv2d_transpose/kernel": (2,)},
    ),
    "partitioned by columns": (
        lambda folder: tf_files.saver(folder, partitions=4, axis=1),
        {"dense/kernel": (1,), "conv2d_transpose/kernel": (2,)},
    ),
    "objects": (tf_files.object_checkpoint, {"hidden/kernel": (1,), "digit/kernel": (1,)}),
    "sharded": (tf_files.sharded, {"hidden/kernel": (1,), "digit/kernel": (1,)}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Checkpoints of the zoo, each written once."""
    paths: dict[str, Path] = {}
    makers = {name: make for name, (make, _) in CHECKPOINTS.items()}
    makers |= {"module": tf_files.module, "export": tf_files.export, "tf_keras": tf_files.tf_keras_saved}

    def get(name: str) -> Path:
        if name not in paths:
            paths[name] = makers[name](tmp_path_factory.mktemp("zoo"))
        return paths[name]

    return get


def restored(prefix: Path) -> dict[str, Any]:
    """Every tensor of a checkpoint, as TensorFlow's reader restores it."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_is_bounded_has_the_names_and_unit_axes_of_its_layers(made: Callable[[str], Path], name: str) -> None:
    report = look(made(name), 1.0)
    assert {row.step.variable.name: row.step.unit_axes for row in report.rows} == CHECKPOINTS[name][1]
    assert report.totals.variables == len(restored(made(name)))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_only_kernels_checksums_and_block_trailers_change(
    made: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    source = made(name)
    report = bound(source, tmp_path / source.name)
    checkpoint = open_checkpoint(source)
    touched = {row.step.variable.key for row in report.rows}
    entries = [entry for key in touched for entry in checkpoint.entries[key].slices or (checkpoint.entries[key],)]
    flat = [getattr(entry, "entry", entry) for entry in entries]
    for file in source.parent.glob(f"{source.name}.*"):
        old = np.frombuffer(file.read_bytes(), np.uint8)
        new = np.frombuffer((tmp_path / file.name).read_bytes(), np.uint8)
        assert old.size == new.size
        changed = np.flatnonzero(old != new)
        if ".data-" in file.name:
            shard = int(file.name.split(".data-")[1][:5])
            allowed = np.zeros(old.size, dtype=bool)
            for entry in flat:
                if entry.shard == shard:
                    allowed[entry.offset : entry.offset + entry.size] = True
            assert allowed[changed].all()
        elif file.name.endswith(".index"):
            assert changed.size <= 4 * (len(flat) + len({entry.block for entry in flat}))
        else:
            assert changed.size == 0
    checkpoint.close()


def test_a_prefix_its_index_file_and_its_folder_are_the_same_checkpoint(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    source = made("saver")
    reports = [look(path) for path in (source, Path(f"{source}.index"), source.parent)]
    assert reports[0].rows == reports[1].rows == reports[2].rows
    for path in source.parent.iterdir():
        shutil.copy(path, tmp_path)
    bound(tmp_path / source.name, None)
    assert (tmp_path / f"{source.name}-renorm.index").exists()
    assert (tmp_path / "checkpoint").read_bytes() == (source.parent / "checkpoint").read_bytes()


def test_a_new_folder_gets_a_state_file_with_a_relative_path(made: Callable[[str], Path], tmp_path: Path) -> None:
    import tensorflow as tf

    bound(made("saver"), tmp_path / "out")
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "out")
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    shutil.copytree(tmp_path, moved)
    assert tf.train.latest_checkpoint(str(moved)) == str(moved / "out")


def test_a_folder_is_the_checkpoint_its_state_file_names_or_its_only_one(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    source = made("saver")
    for name in ("one", "two"):
        for path in source.parent.glob(f"{source.name}.*"):
            shutil.copy(path, tmp_path / path.name.replace(source.name, name))
    with pytest.raises(FormatError, match=r"holds 2 checkpoints .* give one of 'one', 'two'"):
        look(tmp_path)
    state = tmp_path / "checkpoint"
    state.write_text('model_checkpoint_path: "two"\nall_model_checkpoint_paths: "one"\n')
    assert locate(tmp_path).name == "two"
    for outside in ("/etc/passwd", "../one", "gone", str(source)):
        state.write_text(f'model_checkpoint_path: "{outside}"\n')
        with pytest.raises(FormatError, match="holds 2 checkpoints"):
            look(tmp_path)
    for path in tmp_path.glob("one.*"):
        path.unlink()
    assert locate(tmp_path).name == "two"


def test_a_prefix_with_an_empty_name_is_read_and_written(made: Callable[[str], Path], tmp_path: Path) -> None:
    source = made("saver")
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for path in source.parent.glob(f"{source.name}.*"):
        shutil.copy(path, folder / path.name.removeprefix(source.name))
    assert look(folder).rows == look(source).rows
    bound(folder, None)
    assert (folder / "renorm.index").exists()
    bound(folder, out)
    assert restored(out / "").keys() == restored(source).keys()


def test_in_place_replaces_all_files_and_leaves_no_journal(made: Callable[[str], Path], tmp_path: Path) -> None:
    for path in made("sharded").parent.iterdir():
        shutil.copy(path, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    bound(tmp_path / "ckpt-7", None, in_place=True)
    assert [n for n in sorted(path.name for path in tmp_path.iterdir()) if n != "checkpoint"] == names
    assert look(tmp_path / "ckpt-7", 1.0).holds


@pytest.mark.parametrize("name", ["saver", "objects"])
def test_big_endian_bundles_keep_their_byte_order(made: Callable[[str], Path], name: str, tmp_path: Path) -> None:
    source = made(name)
    prefix = tmp_path / "big"
    make_big_endian(source, prefix)
    report = bound(prefix, tmp_path / "out")
    assert report.totals == bound(source, tmp_path / "little").totals
    after, little = restored(tmp_path / "out"), restored(tmp_path / "little")
    for row in report.rows:
        assert np.array_equal(np.asarray(after[row.step.variable.key]), np.asarray(little[row.step.variable.key]))


def make_big_endian(source: Path, target: Path) -> None:
    """The same checkpoint as a big-endian machine would write it; strings stay, as they have no byte order."""
    from renorm_cli.formats.tensorflow.bundle import ITEM_BYTES, with_crc
    from renorm_cli.formats.tensorflow.leveldb import crc32c, write_table

    checkpoint = open_checkpoint(source)
    data = bytearray(Path(f"{source}.data-00000-of-00001").read_bytes())
    values = {item.key: item.value for item in checkpoint.bundle.table.entries}
    values[b""] = b"\x08\x01\x10\x01\x1a\x02\x08\x01"
    for entry in checkpoint.bundle.stored:
        span = slice(entry.offset, entry.offset + entry.size)
        key = entry.key.encode()
        if entry.dtype in ITEM_BYTES:
            data[span] = (
                np.frombuffer(data[span], f"V{ITEM_BYTES[entry.dtype]}")
                .view(f"u{ITEM_BYTES[entry.dtype]}")
                .byteswap()
                .tobytes()
            )
            values[key] = with_crc(values[key], crc32c(data[span]), "test")
        else:
            values[key], data[span] = values[key], big_endian_string(bytes(data[span]))
            values[key] = with_crc(values[key], string_crc(bytes(data[span])), "test")
    Path(f"{target}.data-00000-of-00001").write_bytes(data)
    Path(f"{target}.index").write_bytes(write_table(sorted(values.items())))
    checkpoint.close()


def big_endian_string(stored: bytes) -> bytes:
    """A scalar string tensor with the checksum of its length in big-endian."""
    from renorm_cli.formats.protobuf import read_varint
    from renorm_cli.formats.tensorflow.leveldb import crc32c, mask

    length, at = read_varint(stored, 0, len(stored), "test")
    return stored[:at] + struct.pack(">I", mask(crc32c(struct.pack(">I", length)))) + stored[at + 4 :]


def string_crc(stored: bytes) -> int:
    from renorm_cli.formats.protobuf import read_varint
    from renorm_cli.formats.tensorflow.leveldb import crc32c

    length, at = read_varint(stored, 0, len(stored), "test")
    return crc32c(stored[at:], crc32c(struct.pack(">I", length)))


def copied(made: Callable[[str], Path], name: str, folder: Path) -> Path:
    source = made(name)
    for path in source.parent.glob(f"{source.name}.*"):
        shutil.copy(path, folder)
    return folder / source.name


def test_a_wrong_checksum_is_refused_by_apply_and_check_and_reported_by_inspect(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    prefix = copied(made, "saver", tmp_path)
    checkpoint = open_checkpoint(prefix)
    at = checkpoint.entries["dense/bias"].offset
    assert checkpoint.damage() == ()
    checkpoint.close()
    data = Path(f"{prefix}.data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    raw[at] ^= 1
    data.write_bytes(raw)
    text = "is damaged: the checksum of 'dense/bias' does not match the bytes"
    with pytest.raises(FormatError, match=text):
        bound(prefix, tmp_path / "out")
    with pytest.raises(FormatError, match=text):
        check(prefix, max_norm=9.0)
    assert any(note.warning and text in note.text for note in look(prefix).notes)
    assert not list(tmp_path.glob("out*"))


def test_nan_that_is_damage_is_told_as_damage(made: Callable[[str], Path], tmp_path: Path) -> None:
    prefix = copied(made, "saver", tmp_path)
    with open_checkpoint(prefix) as checkpoint:
        at = checkpoint.entries["dense/kernel"].offset
    data = Path(f"{prefix}.data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    raw[at : at + 4] = b"\xff" * 4
    data.write_bytes(raw)
    with pytest.raises(FormatError, match="is damaged: the checksum of 'dense/kernel' does not match"):
        bound(prefix, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda p: Path(f"{p}.data-00000-of-00001").unlink(), "no such file"),
        (lambda p: Path(f"{p}.data-00000-of-00001").write_bytes(b"short"), "data"),
        (
            lambda p: Path(f"{p}.index").write_bytes(Path(f"{p}.index").read_bytes()[:-1] + b"x"),
            "expected the mark of a TensorFlow index",
        ),
        (
            lambda p: Path(f"{p}.index").write_bytes(Path(f"{p}.index").read_bytes()[:100]),
            "expected the mark of a TensorFlow index",
        ),
    ],
    ids=["missing shard", "truncated data", "bad magic", "truncated index"],
)
def test_a_damaged_checkpoint_is_one_error_and_nothing_is_written(
    made: Callable[[str], Path], tmp_path: Path, harm: Callable[[Path], Any], what: str
) -> None:
    prefix = copied(made, "saver", tmp_path)
    harm(prefix)
    names = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(FormatError, match=what):
        bound(prefix, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_data_file_that_is_a_link_is_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    prefix = copied(made, "saver", tmp_path)
    data = Path(f"{prefix}.data-00000-of-00001")
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="cannot be opened"):
        look(prefix)


def outputs(directory: Path) -> np.ndarray:
    """What a SavedModel answers in the TF2 loader."""
    import tensorflow as tf

    model = tf.saved_model.load(str(directory))
    x = tf.constant(np.linspace(-1, 1, 24).reshape(2, 12).astype(np.float32))
    signature = model.signatures["serving_default"] if model.signatures else None
    answer = model(x) if signature is None else next(iter(signature(x).values()))
    return np.asarray(answer)


def served(directory: Path) -> np.ndarray:
    """What a SavedModel answers in the TF1 session loader, as serving does."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.loader.load(session, ["serve"], str(directory))
        signature = meta.signature_def["serving_default"]
        x = np.linspace(-1, 1, 24).reshape(2, 12).astype(np.float32)
        feed = {next(iter(signature.inputs.values())).name: x}
        return np.asarray(session.run(next(iter(signature.outputs.values())).name, feed))


def clipped(kernel: np.ndarray) -> np.ndarray:
    return kernel / np.maximum(np.linalg.norm(kernel.astype(np.float64), axis=0), 1.0)


def test_an_export_answers_with_the_clipped_weights_in_both_loaders(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    """It stores every weight twice; the TF2 loader takes one copy, the session loader the other."""
    report = bound(made("export"), tmp_path / "out")
    assert [len(row.step.stored) for row in report.rows] == [2, 2]
    x = np.linspace(-1, 1, 24).reshape(2, 12)
    hidden, digit = DENSE["hidden"], DENSE["digit"]
    expected = (x @ clipped(hidden["kernel"]) + hidden["bias"]) @ clipped(digit["kernel"]) + digit["bias"]
    np.testing.assert_allclose(outputs(tmp_path / "out"), expected, rtol=1e-5)
    np.testing.assert_allclose(served(tmp_path / "out"), expected, rtol=1e-5)
    assert not np.allclose(served(made("export")), expected, rtol=1e-3)


def test_selecting_one_copy_of_an_export_changes_both(made: Callable[[str], Path], tmp_path: Path) -> None:
    report = bound(made("export"), tmp_path / "out", "net/hidden/kernel")
    assert [len(row.step.stored) for row in report.rows] == [2]


def test_a_module_keeps_its_assets_and_gets_its_fingerprint_refreshed(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    import tensorflow as tf

    source, output = made("module"), tmp_path / "out"
    bound(source, output)
    x = np.linspace(-1, 1, 24).reshape(2, 12)
    np.testing.assert_allclose(outputs(output), x @ clipped(KERNEL) + 9, rtol=1e-5)
    for name in ("saved_model.pb", "assets/words.txt"):
        assert (output / name).read_bytes() == (source / name).read_bytes()
    index = np.frombuffer((output / "variables" / "variables.index").read_bytes(), np.uint8)
    hashed = tf.fingerprint(index[None]).numpy().tobytes()
    fingerprint = tf.saved_model.experimental.read_fingerprint(str(output))
    assert fingerprint.checkpoint_hash == int.from_bytes(hashed, "little")
    old = tf.saved_model.experimental.read_fingerprint(str(source))
    assert fingerprint.saved_model_checksum == old.saved_model_checksum
    assert fingerprint.checkpoint_hash != old.checkpoint_hash


def test_tf_keras_loads_its_saved_model_with_the_layers_unit_axes(made: Callable[[str], Path], tmp_path: Path) -> None:
    import tf_keras

    report = bound(made("tf_keras"), tmp_path / "out")
    assert {row.step.variable.name: (row.step.unit_axes, row.step.axis_source) for row in report.rows} == {
        "up/kernel": ((2,), "layer"),
        "deep/depthwise_kernel": ((2, 3), "layer"),
        "head/kernel": ((1,), "layer"),
    }
    before, after = (tf_keras.models.load_model(str(path)) for path in (made("tf_keras"), tmp_path / "out"))
    axes = {"up": (2,), "deep": (2, 3), "head": (1,)}
    for name, unit_axes in axes.items():
        agrees(before.get_layer(name).get_weights()[0], after.get_layer(name).get_weights()[0], unit_axes, 1.0)


def test_a_saved_model_is_replaced_as_a_whole(made: Callable[[str], Path], tmp_path: Path) -> None:
    source = tmp_path / "model"
    shutil.copytree(made("module"), source)
    with pytest.raises(OutputError, match="exists; give another with output=, or replace it with force=True"):
        bound(made("module"), source)
    (source / "stale").write_text("not in the new one")
    bound(made("module"), source, force=True)
    assert not (source / "stale").exists()
    before = (source / "saved_model.pb").read_bytes()
    bound(source, None, in_place=True, limit=0.7)
    assert look(source, 0.7).holds
    assert (source / "saved_model.pb").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_link_inside_a_saved_model_is_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    source = tmp_path / "model"
    shutil.copytree(made("module"), source)
    (source / "assets" / "stolen").symlink_to("/etc/hostname")
    with pytest.raises(FormatError, match="a symbolic link; a checkpoint may name nothing outside itself"):
        look(source)


def test_a_frozen_model_is_said_to_be_frozen(tmp_path: Path) -> None:
    import tensorflow as tf

    class Frozen(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None, 12))])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return x @ KERNEL

    tf.saved_model.save(Frozen(), str(tmp_path / "frozen"))
    shutil.rmtree(tmp_path / "frozen" / "variables")
    with pytest.raises(FormatError, match="is a frozen model: its weights are constants in the graph"):
        look(tmp_path / "frozen")


def test_a_constant_with_the_values_of_a_variable_is_a_warning(tmp_path: Path) -> None:
    import tensorflow as tf

    class Both(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(KERNEL, name="dense/kernel")

        @tf.function(input_signature=[tf.TensorSpec((None, 12))])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return x @ self.kernel + x @ tf.constant(KERNEL)

    tf.saved_model.save(Both(), str(tmp_path / "both"))
    assert [note.text for note in look(tmp_path / "both").notes if note.warning] == [
        "'dense/kernel': the graph also holds the same values as a constant, which is not bounded"
    ]


def test_a_compressed_index_is_read_and_written_anew(made: Callable[[str], Path], tmp_path: Path) -> None:
    """Checksums cannot be patched inside a compressed block."""
    prefix = copied(made, "saver", tmp_path)
    index = Path(f"{prefix}.index")
    pairs = [(item.key, item.value) for item in read_table(index.read_bytes(), "test").entries]
    index.write_bytes(raw_tables.table(pairs[:5], pairs[5:], compress=True))
    assert bound(prefix, tmp_path / "out").totals.over > 0
    bound(made("saver"), tmp_path / "plain")
    after, plain = restored(tmp_path / "out"), restored(tmp_path / "plain")
    assert after.keys() == plain.keys()
    assert all(np.array_equal(after[key], plain[key]) for key in after)


KILLED = """
import os, signal, sys
from pathlib import Path
from support.files import bound
done = 0
real = Path.replace
def replace(self, target):
    global done
    if done == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    return real(self, target)
Path.replace = replace
bound(Path({path!r}), None, in_place=True)
"""


@pytest.mark.parametrize("after", range(13))
def test_a_run_killed_while_it_replaces_a_checkpoint_leaves_the_old_the_new_or_a_clear_error(
    made: Callable[[str], Path], tmp_path: Path, after: int
) -> None:
    """Killed before the first rename, the record's, each data file's, the index's: 11 in all for nine data files."""
    prefix = copied(made, "sharded", tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code = KILLED.format(after=after, path=str(prefix))
    done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, check=False)
    assert done.returncode == (-9 if after < 12 else 0), done.stderr
    try:
        report = look(prefix, 1.0)
    except FormatError as error:
        assert "half replaced: a run was killed while it published; repeat that `apply`" in str(error)  # noqa: PT017
        assert not Path(f"{prefix}.index").exists()  # TensorFlow finds no checkpoint rather than a mixture
    else:
        now = {name: (tmp_path / name).read_bytes() for name in old}
        assert report.holds or now == old
    assert bound(prefix, None, in_place=True) is not None
    assert look(prefix, 1.0).holds
    assert restored(prefix).keys() == restored(made("sharded")).keys()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".renorm-")]
