"""One checkpoint shared out: the bytes and the report of a run without workers, whatever order they answer in."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_files, tensor_files
from support import small_checkpoints as small
from support.sharing import Workers

from renorm_cli import FormatError, NonFiniteError, OutputError, apply, check, inspect
from renorm_cli.formats import sent
from renorm_cli.run import shares

PLAIN = ("prefix", "prefix of shards", "saved model", "safetensors shards", "torch distributed", "model folder")
"""Of those formats that `small_checkpoints` makes, the ones whose weights lie as plain bytes."""
ONE_FILE = {
    "m.npz": lambda path: np.savez(path, kernel=KERNEL, bias=KERNEL[0]),
    "m.onnx": lambda path: onnx_files.write_outside(path),
}
KERNEL = np.random.default_rng(2).standard_normal((40, 30), dtype=np.float32)
BOUND = 0.5

Paths = Callable[[str], Path]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A checkpoint of each format, made once."""
    return cache(lambda name: small.FORMATS[name](tmp_path_factory.mktemp("zoo")))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of a few weights, so that small checkpoints are cut."""
    monkeypatch.setattr(shares, "SHARE_BYTES", 64)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two files: a table of 9000 rows, whose groups are cut into blocks of their own, and a kernel that is not."""
    numbers = np.random.default_rng(3)
    table = numbers.standard_normal((9000, 300), dtype=np.float32)
    kernel = numbers.standard_normal((64, 48), dtype=np.float32)
    parts = [{"embed_tokens.weight": table}, {"fc.weight": kernel, "fc.bias": kernel[0]}]
    return tensor_files.write_index(tmp_path / "m.safetensors.index.json", parts, "m")


def outputs(path: Path, folder: Path, **asked: Any) -> tuple[Any, dict[str, bytes]]:
    folder.mkdir()
    done = apply(path, folder / path.name, max_norm=BOUND, **asked)
    assert small.temporaries(folder) == []
    return done, small.content(folder)


@pytest.mark.parametrize("name", PLAIN)
def test_what_workers_write_and_report_is_what_one_run_does(name: str, paths: Paths, tmp_path: Path) -> None:
    workers = Workers()
    alone, here = outputs(paths(name), tmp_path / "alone")
    shared, there = outputs(paths(name), tmp_path / "shared", workers=workers)
    assert here == there
    assert len(set(workers.done)) > 1
    assert (shared.rows, shared.skips, shared.notes) == (alone.rows, alone.skips, alone.notes)
    for row in alone.rows:
        assert np.array_equal(shared.unit_norms(row.step.variable.key), alone.unit_norms(row.step.variable.key))
    for verb in (inspect, check):
        one, many = verb(paths(name), max_norm=BOUND), verb(paths(name), max_norm=BOUND, workers=Workers())
        assert (one.rows, one.notes, one.verdict) == (many.rows, many.notes, many.verdict)


@pytest.mark.parametrize("name", ONE_FILE)
def test_a_file_of_another_format_is_shared_out_as_well(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ONE_FILE[name](tmp_path / "in" / name)
    workers = Workers()
    for place in ("m-2", "m"):
        out = f"{place}{Path(name).suffix}"
        found = []
        for folder, asked in (("alone", {}), ("shared", {"workers": workers})):
            (tmp_path / folder / place).mkdir(parents=True)
            target = tmp_path / folder / place / out
            apply(tmp_path / "in" / name, target, max_norm=BOUND, allow_guess=True, **asked)
            found.append(small.content(target.parent))
        assert found[0] == found[1]
    assert workers.done


def test_a_table_is_cut_between_its_rows_and_its_norms_are_those_of_numpy(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "SHARE_BYTES", 5 << 20)
    table = tensor_files.read_safetensors(rows.with_name("m-00001-of-00002.safetensors"))["embed_tokens.weight"]
    workers = Workers()
    found = inspect(rows, workers=workers)
    assert len(workers.done) == 4
    norms = np.linalg.norm(table.astype(np.float64), axis=1)
    np.testing.assert_allclose(found.unit_norms("embed_tokens.weight").ravel(), norms, rtol=1e-13)
    assert outputs(rows, tmp_path / "alone")[1] == outputs(rows, tmp_path / "shared", workers=workers)[1]


def test_spectral_norms_are_shared_out_by_matrices(paths: Paths, tmp_path: Path) -> None:
    path = paths("safetensors shards")
    alone, here = outputs(path, tmp_path / "alone", norm="spectral")
    shared, there = outputs(path, tmp_path / "shared", norm="spectral", workers=Workers())
    assert (here, alone.rows) == (there, shared.rows)


@pytest.mark.parametrize("name", PLAIN)
def test_a_share_that_is_done_twice_changes_nothing(name: str, paths: Paths, tmp_path: Path) -> None:
    _, here = outputs(paths(name), tmp_path / "alone")
    _, there = outputs(paths(name), tmp_path / "shared", workers=Workers(times=2))
    assert here == there


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("keras h5", "what does not lie as plain bytes"),
        ("prefix", "one norm over all variables"),
        ("tfjs", "a checkpoint with a weight that begins in one file and ends in the next"),
    ],
)
def test_what_cannot_be_shared_out_is_done_here_and_a_note_says_so(
    name: str, what: str, paths: Paths, tmp_path: Path
) -> None:
    workers = Workers()
    per = "global" if name == "prefix" else "unit"
    _, here = outputs(paths(name), tmp_path / "alone", per=per)
    done, there = outputs(paths(name), tmp_path / "shared", per=per, workers=workers)
    assert here == there
    assert f"{what} is not shared out: this machine alone computed it" in str([note.text for note in done.notes])
    assert workers.done == []


def failed(path: Path, folder: Path, error: type[Exception], text: str, workers: Workers) -> None:
    folder.mkdir()
    with pytest.raises(error, match=text):
        apply(path, folder / path.name, max_norm=BOUND, workers=workers)
    assert list(folder.iterdir()) == []


def test_a_full_disk_of_one_worker_leaves_nothing(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sent.os, "fsync", full)
    failed(paths("prefix of shards"), tmp_path / "out", OutputError, "No space left on device", Workers())


def test_an_answer_that_is_missing_is_never_taken_for_done(paths: Paths, tmp_path: Path) -> None:
    for number in range(3):
        failed(paths("safetensors shards"), tmp_path / str(number), AssertionError, "1 of", Workers(lost=(number,)))


class Damaging(Workers):
    """Changes the last byte of the range of an output that is compared as number `at`, before any is."""

    at, compared = 0, 1

    def __call__(self, do: Callable[[Any], Any], items: Sequence[Any], /) -> Iterator[tuple[Any, Any]]:
        if do is shares.same_ranges:
            ranges = [one for _, part in items for one in part]
            self.compared = len(ranges)
            file, (_, end) = ranges[self.at]
            with file.temporary.open("r+b") as output:
                output.seek(end - 1)
                byte = output.read(1)[0]
                output.seek(end - 1)
                output.write(bytes([byte ^ 1]))
        return super().__call__(do, items)


def test_any_range_that_was_to_be_copied_and_is_another_is_noticed(paths: Paths, tmp_path: Path) -> None:
    workers = Damaging()
    while workers.at < workers.compared:
        text = "differs from the input where nothing was to be written"
        failed(paths("safetensors shards"), tmp_path / str(workers.at), OutputError, text, workers)
        workers.at += 1
    assert workers.compared > 2


def test_a_worker_that_sees_another_file_than_who_asks_says_so_and_nothing_is_written(
    rows: Path, tmp_path: Path
) -> None:
    def touch(number: int) -> None:
        os.utime(rows.with_name("m-00002-of-00002.safetensors"), ns=(1, number))

    failed(rows, tmp_path / "out", FormatError, "is not what it was, or not the same on all", Workers(before=touch))


def test_a_worker_that_sees_no_output_says_so(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent.SentFile, "of", elsewhere(sent.SentFile.of))
    failed(paths("prefix"), tmp_path / "out", OutputError, "is not the same on all machines", Workers())


def elsewhere(made: Callable[..., sent.SentFile]) -> Callable[..., sent.SentFile]:
    return lambda *files: made(*files)._replace(temporary=Path("/nowhere/m"), target=Path("/nowhere/m"))


def test_nan_is_refused_by_a_worker_as_by_one_run(tmp_path: Path) -> None:
    kernel = np.ones((4, 4), dtype=np.float32)
    kernel[1, 1] = np.nan
    path = tensor_files.write_index(tmp_path / "m.safetensors.index.json", [{"fc.weight": kernel}, {"b": kernel[0]}])
    failed(path, tmp_path / "out", NonFiniteError, "holds NaN or Inf in 1 of 4 units", Workers())


def test_a_damaged_tensor_that_is_only_copied_is_noticed(tmp_path: Path) -> None:
    path = small.FORMATS["prefix of shards"](tmp_path)
    data = next(tmp_path.glob("*.data-00001-of-*"))
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    failed(path, tmp_path / "out", FormatError, "is damaged: the checksum of", Workers())


class Late(Workers):
    """Keeps what it was given first, to do it again when it was long given up."""

    def __call__(self, do: Callable[[Any], Any], items: Sequence[Any], /) -> Iterator[tuple[Any, Any]]:
        self.kept = getattr(self, "kept", (pickle.dumps((do, items[0])),))
        return super().__call__(do, items)


def test_who_was_given_up_and_lives_does_not_write_into_an_output(paths: Paths, tmp_path: Path) -> None:
    workers = Late()
    _, here = outputs(paths("safetensors shards"), tmp_path / "out", workers=workers)
    do, item = pickle.loads(workers.kept[0])
    with pytest.raises(OutputError):
        do(item)
    assert small.content(tmp_path / "out") == here


def test_a_file_that_got_its_name_while_it_was_open_elsewhere_is_written_no_more(tmp_path: Path) -> None:
    before, temporary, target = (tmp_path / name for name in ("before", ".renorm-1-a-m", "m"))
    for path in (before, temporary):
        path.write_bytes(b"weights")
    found = before.stat()
    file = sent.SentFile(before, found.st_size, found.st_mtime_ns, temporary, target)
    source = file.open()
    staged = file.open_staged(source, ())
    assert staged is not None
    staged.write(0, memoryview(b"W"))
    temporary.rename(target)
    with pytest.raises(OutputError, match="was finished, or given up, by the run that began it"):
        staged.write(1, memoryview(b"E"))
    assert target.read_bytes() == b"Weights"
    source.close()
    os.close(staged.fd)
