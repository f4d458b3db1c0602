"""A staged output that is not what was meant is never published, whatever happened to it before it was read again."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import builders, keras_zoo
from support import small_checkpoints as small
from support.effort import examples

from renorm_cli.errors import OutputError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.registry import locate, open_checkpoint, open_staged
from renorm_cli.formats.tensorflow.bundle import read_bundle
from renorm_cli.formats.tensorflow.checkpoint import with_checksums
from renorm_cli.formats.tensorflow.leveldb import read_table, write_table
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.report import Row
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.run.steps import SILENT, Work, run
from renorm_cli.run.verify import compared, verify
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging

pytestmark = [pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS]

COPIED = [name for name in small.FORMATS if name not in ("v3 in chunks", "keras zip deflated", "v1")]
"""Formats whose output is the input patched where the weights are."""
INDEXED = ("prefix", "prefix of shards", "v1", "saved model")
ARRAYS = NumpyEngine()
COMPARE = partial(compared, imap=map)

Paths = Callable[[str], Path]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A checkpoint of each format, made once."""
    return cache(lambda name: small.FORMATS[name](tmp_path_factory.mktemp("zoo")))


@dataclass(frozen=True)
class Written:
    """An output that is complete but has no name yet."""

    source: Checkpoint
    staging: Staging
    tree: Path
    reopen: Callable[[Checkpoint | None], Checkpoint]
    check: Callable[[], None]

    @property
    def parts(self) -> tuple[Staged, ...]:
        return self.staging.parts

    def part(self, ending: str) -> Staged:
        return next(staged for staged in self.parts if staged.target.name.endswith(ending))


@contextmanager
def written(path: Path, folder: Path) -> Iterator[Written]:
    """As `apply` does it, up to the moment before it looks at what it wrote."""
    output = locate(path).output(folder / ("m" if path.suffix == ".ckpt" else path.name))
    with open_checkpoint(path) as source:
        steps = make_plan(source.variables, (), Request(OneBound(Constraint(1.0)))).steps
        with Staging(protected=[file.path for file in source.files]) as staging:
            sink = source.stage(staging, output, [step.variable for step in steps])
            rows = run(steps, Work(source, ARRAYS, bound=True, sink=sink))
            assert sum(row.over for row in rows) > 0
            sealed = sink.seal()

            def measure(copy: Checkpoint) -> tuple[Row, ...]:
                return run(steps, Work(copy, ARRAYS))

            reopen = partial(open_staged, staging, output)
            yield Written(
                source,
                staging,
                staging.place(output.path),
                reopen,
                lambda: verify(source, partial(reopen, source), staging.parts, rows, sealed, measure, COMPARE, SILENT),
            )


def refused(path: Path, folder: Path, damage: Callable[[Written], None], why: str) -> None:
    """The damage is noticed, and then nothing is published."""
    with pytest.raises(OutputError, match=why) as told, written(path, folder) as output:
        output.check()
        damage(output)
        output.check()
    assert "nothing was published" in str(told.value)
    assert "\n" not in str(told.value)
    assert list(folder.iterdir()) == []


def content(staged: Staged) -> bytes:
    return os.pread(staged.fd, os.fstat(staged.fd).st_size, 0)


def written_in(staged: Staged) -> set[int]:
    """The bytes that were changed on purpose."""
    return {at for start, end in staged.written for at in range(start, end)}


def put(staged: Staged, new: bytes) -> None:
    """Change a staged file behind our back."""
    os.ftruncate(staged.fd, 0)
    os.pwrite(staged.fd, new, 0)


def edited(image: bytes, edit: Callable[[h5py.File], None]) -> bytes:
    """An HDF5 image after an edit with h5py."""
    memory = io.BytesIO(image)
    with h5py.File(memory, "r+") as file:
        edit(file)
    return memory.getvalue()


def repacked(archive: bytes, name: str, edit: Callable[[bytes], bytes]) -> bytes:
    """A zip archive with one member edited, packed again by zipfile."""
    memory = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(memory, "w") as new:
        for info in old.infolist():
            body = old.read(info)
            new.writestr(info, edit(body) if info.filename == name else body)
    return memory.getvalue()


@pytest.mark.parametrize("name", COPIED)
def test_an_output_has_the_variables_of_its_input_in_the_same_places(paths: Paths, name: str, tmp_path: Path) -> None:
    with written(paths(name), tmp_path) as output, output.reopen(output.source) as copy:
        assert copy.format == output.source.format
        assert copy.variables == output.source.variables
        assert [copy.extent(one) for one in copy.variables] == [output.source.extent(one) for one in copy.variables]


@pytest.mark.parametrize(
    "name", [name for name in small.FORMATS if name not in ("shards", "v1", "saved model", *small.OTHERS)]
)
def test_names_that_come_from_the_same_headers_are_taken_over_and_are_what_the_output_tells_alone(
    paths: Paths, name: str, tmp_path: Path
) -> None:
    with written(paths(name), tmp_path) as output, output.reopen(output.source) as copy, output.reopen(None) as alone:
        (of_copy,), (of_source,), (of_alone,) = (
            [getattr(one, kind) for kind in ("contents", "naming") if hasattr(one, kind)]
            for one in (copy, output.source, alone)
        )
        assert of_copy is of_source
        assert of_alone is not of_source
        assert alone.variables == copy.variables
        assert [alone.extent(one) for one in alone.variables] == [copy.extent(one) for one in copy.variables]


@pytest.mark.parametrize("name", small.FORMATS)
def test_an_untouched_output_passes_and_is_published(paths: Paths, name: str, tmp_path: Path) -> None:
    with written(paths(name), tmp_path) as output:
        output.check()
        assert small.content(tmp_path) == {}
    assert small.content(tmp_path) != {}
    assert small.temporaries(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", COPIED)
@settings(max_examples=examples(15), deadline=None)
@given(data=st.data())
def test_any_byte_that_was_not_written_and_is_another_is_noticed(
    paths: Paths, name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("out")

    def flip(output: Written) -> None:
        places = {
            number: sorted(set(range(os.fstat(staged.fd).st_size)) - written_in(staged))
            for number, staged in enumerate(output.parts)
            if staged.source is not None
        }
        number = data.draw(st.sampled_from([number for number, free in places.items() if free]))
        staged, at = output.parts[number], data.draw(st.sampled_from(places[number]))
        before = os.pread(staged.fd, 1, at)[0]
        os.pwrite(staged.fd, bytes([before ^ data.draw(st.integers(1, 255))]), at)

    refused(paths(name), folder, flip, "read again, is not what was written")


@pytest.mark.parametrize("name", INDEXED)
@settings(max_examples=examples(15), deadline=None)
@given(data=st.data())
def test_an_index_that_tells_anything_else_is_noticed(
    paths: Paths, name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of an index, only the padding of its last lines means nothing."""
    folder = tmp_path_factory.mktemp("out")

    def flip(output: Written) -> None:
        index = output.part(".index")
        old = content(index)
        at = data.draw(st.integers(0, len(old) - 1))
        assume(at < len(old) - 48 or at >= len(old) - 8)
        put(index, old[:at] + bytes([old[at] ^ data.draw(st.integers(1, 255))]) + old[at + 1 :])

    refused(paths(name), folder, flip, "read again, is not what was written")


@pytest.mark.parametrize("name", ["keras h5", "v3", "v3 in chunks", "shards", "plain hdf5"])
def test_a_variable_that_is_gone_is_noticed(paths: Paths, name: str, tmp_path: Path) -> None:
    def drop(output: Written) -> None:
        staged = output.parts[0]
        last = output.source.variables[0].key if name == "shards" else output.source.variables[-1].key
        put(staged, edited(content(staged), lambda file: file.__delitem__(last)))

    refused(paths(name), tmp_path, drop, "is not what was written")


@pytest.mark.parametrize("name", ["keras zip", "keras zip deflated"])
def test_a_variable_that_is_gone_from_an_archive_is_noticed(paths: Paths, name: str, tmp_path: Path) -> None:
    def drop(output: Written) -> None:
        staged, last = output.parts[0], output.source.variables[-1].key
        put(staged, repacked(content(staged), "model.weights.h5", partial(edited, edit=lambda f: f.__delitem__(last))))

    refused(paths(name), tmp_path, drop, "is missing from it")


@pytest.mark.parametrize("name", INDEXED)
def test_a_key_that_is_gone_from_the_index_is_noticed(paths: Paths, name: str, tmp_path: Path) -> None:
    def drop(output: Written) -> None:
        index = output.part(".index")
        entries = read_table(content(index), "index").entries
        put(index, write_table((entry.key, entry.value) for entry in entries[:-1]))

    refused(paths(name), tmp_path, drop, "is missing from it|is not what was written")


@pytest.mark.parametrize("name", INDEXED)
def test_a_wrong_checksum_in_a_sound_index_is_noticed(paths: Paths, name: str, tmp_path: Path) -> None:
    def spoil(output: Written) -> None:
        index = output.part(".index")
        sizes = [os.fstat(part.fd).st_size for part in output.parts if ".data-" in part.target.name]
        bundle = read_bundle(content(index), lambda shard, count: sizes[shard], "index")
        entry = next(entry for entry in bundle.stored if entry.dtype == "float32")
        put(index, with_checksums(content(index), bundle, {entry.key: (entry.crc or 0) ^ 1}, "index"))

    refused(paths(name), tmp_path, spoil, "it tells other checksums than it has")


def test_a_wrong_checksum_in_both_headers_of_an_archive_is_noticed(paths: Paths, tmp_path: Path) -> None:
    def spoil(output: Written) -> None:
        (staged,) = output.parts
        with zipfile.ZipFile(io.BytesIO(content(staged))) as archive:
            crc = archive.getinfo("model.weights.h5").CRC.to_bytes(4, "little")
        assert content(staged).count(crc) == 2
        put(staged, content(staged).replace(crc, bytes(byte ^ 255 for byte in crc)))

    refused(paths("keras zip"), tmp_path, spoil, "it tells other checksums than it has")


@pytest.mark.parametrize("name", ["keras zip", "keras zip deflated"])
@pytest.mark.parametrize("edit", [lambda body: body[::-1], lambda body: b"", lambda body: body + b"!"])
def test_a_member_that_is_another_is_noticed(
    paths: Paths, name: str, edit: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    def change(output: Written) -> None:
        (staged,) = output.parts
        put(staged, repacked(content(staged), "assets/words.txt", edit))

    refused(paths(name), tmp_path, change, "is not what was written")


@pytest.mark.parametrize("change", [lambda asset: asset.write_bytes(b"two\none\n"), Path.unlink])
def test_an_asset_that_is_another_is_noticed(paths: Paths, change: Callable[[Path], None], tmp_path: Path) -> None:
    refused(
        paths("saved model"),
        tmp_path,
        lambda output: change(output.tree / "assets" / "words.txt"),
        "words.txt' differs from the input",
    )


def test_an_asset_that_nobody_carried_over_is_noticed(paths: Paths, tmp_path: Path) -> None:
    def add(output: Written) -> None:
        (output.tree / "assets" / "more.txt").write_bytes(b"three\n")

    refused(paths("saved model"), tmp_path, add, "differs from the input")


@pytest.mark.parametrize("name", ["v3 in chunks", "keras zip deflated"])
@pytest.mark.parametrize("which", ["kernel", "bias"])
def test_values_that_are_others_in_chunks_or_packed_are_noticed(
    paths: Paths, name: str, which: str, tmp_path: Path
) -> None:
    """The old values, over the bound, in a kernel; other ones in what was not to be touched."""
    key = "layers/dense/vars/0" if which == "kernel" else "layers/dense/vars/1"

    def spoil(image: bytes) -> bytes:
        return edited(image, lambda file: file[key].write_direct(file[key][()] * np.float32(2)))

    def change(output: Written) -> None:
        (staged,) = output.parts
        old = content(staged)
        put(staged, spoil(old) if name == "v3 in chunks" else repacked(old, "model.weights.h5", spoil))

    refused(paths(name), tmp_path, change, "is not what was written")


def test_a_unit_of_nan_is_noticed_also_where_the_others_have_the_norms_of_all(tmp_path: Path) -> None:
    kernel = np.full((12, 8), 2, np.float32)
    weights = {"hidden": {"kernel": kernel, "bias": np.zeros(8, np.float32)}}
    source, folder = tmp_path / "m.weights.h5", tmp_path / "out"
    folder.mkdir()
    builders.write_v3(source, builders.v3_layers(weights), chunks=True, compression="gzip")

    def spoil(file: h5py.File) -> None:
        file["layers/dense/vars/0"][:, 3] = np.nan

    def change(output: Written) -> None:
        (staged,) = output.parts
        put(staged, edited(content(staged), spoil))

    refused(source, folder, change, "the norms of 'hidden/kernel' are others than those that were written")


@pytest.mark.parametrize("which", ["dense/kernel", "dense/bias"])
def test_values_that_are_others_in_what_was_written_anew_are_noticed(paths: Paths, which: str, tmp_path: Path) -> None:
    """A V1 file becomes a V2 checkpoint: nothing of it lies where it lay."""

    def change(output: Written) -> None:
        data = output.part(".data-00000-of-00001")
        sizes = {"dense/bias": (0, 24), "dense/kernel": (24, 288)}
        start, size = sizes[which]
        values = np.frombuffer(content(data)[start : start + size], np.float32) * np.float32(2)
        os.pwrite(data.fd, values.tobytes(), start)

    refused(paths("v1"), tmp_path, change, "is not what was written")


@pytest.mark.parametrize("name", small.FORMATS)
def test_an_output_that_is_cut_short_or_empty_is_noticed(paths: Paths, name: str, tmp_path: Path) -> None:
    for size in (0, 7):

        def cut(output: Written, size: int = size) -> None:
            put(output.parts[-1], content(output.parts[-1])[:size])

        refused(paths(name), tmp_path, cut, "is not what was written")
