"""What every format promises. A format subclasses the contract, and reaches the bytes without the code under test."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support import small_checkpoints as small
from support.files import agrees, bound, look

from renorm_cli.errors import FormatError, OutputError, SelectionError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.numbers import item_bytes
from renorm_cli.formats.registry import find, open_checkpoint, open_staged
from renorm_cli.model.blocks import partition
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.report import Row
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.run.steps import SILENT, Work, run
from renorm_cli.run.verify import compared, verify
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging

FDS = Path("/proc/self/fd")
CUTS = (0.0, 0.1, 0.5, 0.9, 1.0)
CHECKSUM_BYTES = 16
"""Of a variable: its checksum, and its share of those of blocks and headers, which may stand twice."""


class CheckpointContract(ABC):
    """A small checkpoint of one format, some of its units over 1."""

    format: str
    """Its name in reports."""
    kernels: Mapping[str, tuple[int, ...]]
    """The keys of what is bounded by default, with their unit axes."""
    name: str
    """What an output is to be called."""
    rewrites = False
    """Whether the output is more than the input patched: chunks, packed data, another version."""
    in_place = True
    """Whether an output may replace its input."""

    @abstractmethod
    def make(self, folder: Path) -> Path:
        """Make the checkpoint in an empty folder; returns what a user would give."""

    @abstractmethod
    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        """Every stored array by its key, by a reader that is not ours."""

    def rest(self, path: Path) -> object:
        """All else that an output must have as its input has it."""
        return None

    def essential(self, path: Path) -> Sequence[Path]:
        """The files that nothing can be cut off from unnoticed."""
        return sorted(one for one in path.parent.iterdir() if one.is_file())

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        folder = tmp_path / "in"
        folder.mkdir()
        return self.make(folder)

    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        folder = tmp_path / "out"
        folder.mkdir()
        return folder / self.name

    def test_every_variable_is_accounted_for_with_its_shape_and_dtype(self, path: Path) -> None:
        report, arrays = look(path, 1.0), self.arrays(path)
        assert report.format == self.format
        assert {row.step.variable.key: row.step.unit_axes for row in report.rows} == self.kernels
        assert report.totals.over > 0
        found = [*(row.step.variable for row in report.rows), *(skip.variable for skip in report.skips)]
        assert sorted(variable.key for variable in found) == sorted(arrays)
        for variable in found:
            array = arrays[variable.key]
            assert variable.shape == array.shape
            assert item_bytes(variable.dtype) in (None, array.dtype.itemsize)

    @pytest.mark.parametrize("elements", [1, 5, 7, 1 << 20])
    def test_any_block_is_what_the_other_reader_reads(self, path: Path, elements: int) -> None:
        arrays, memory = self.arrays(path), np.empty(1 << 20, np.uint8)
        with open_checkpoint(path) as source:
            for variable in source.variables:
                if item_bytes(variable.dtype) is None:
                    continue
                for block in partition(variable.shape, elements):
                    expected = arrays[variable.key][block.box]
                    assert equal(source.read(variable, block), expected)
                    assert equal(source.read(variable, block, memory), expected)

    def test_a_variable_is_read_whole_as_the_other_reader_reads_it(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrays = self.arrays(path)
        for at_once in (64, 4 << 20):
            monkeypatch.setattr("renorm_cli.formats.base._READ_BYTES", at_once)
            with open_checkpoint(path) as source:
                for variable in source.variables:
                    if item_bytes(variable.dtype) is None:
                        with pytest.raises(FormatError, match="is not readable as an array"):
                            source.read(variable)
                    else:
                        assert equal(source.read(variable), arrays[variable.key])

    def test_a_variable_of_another_checkpoint_is_not_read(self, path: Path) -> None:
        with open_checkpoint(path) as source:
            known = source.variables[0]
            for other in (replace(known, key="no such"), replace(known, shape=(*known.shape, 1))):
                with pytest.raises(SelectionError, match="has no variable"):
                    source.read(other)

    def test_what_is_asked_is_bounded_and_all_else_keeps_its_bytes(self, path: Path, out: Path) -> None:
        before, inputs = self.arrays(path), contents(path.parent)
        report = bound(path, out)
        after = self.arrays(out)
        assert before.keys() == after.keys()
        for key, array in before.items():
            if key in self.kernels:
                agrees(native(array), native(after[key]), self.kernels[key], 1.0)
            else:
                assert equal(after[key], array)
        assert report.totals.over == look(path, 1.0).totals.over
        assert self.rest(out) == self.rest(path)
        assert contents(path.parent) == inputs

    def test_only_bytes_of_bounded_variables_and_checksums_differ(self, path: Path, out: Path) -> None:
        if self.rewrites:
            pytest.skip("the output is made anew")
        bound(path, out)
        before, after = small.content(path.parent), small.content(out.parent)
        assert before.keys() == after.keys()
        changed = 0
        for name, content in before.items():
            assert len(after[name]) == len(content)
            changed += int(np.count_nonzero(np.frombuffer(content, np.uint8) != np.frombuffer(after[name], np.uint8)))
        kernels = [array for key, array in self.arrays(path).items() if key in self.kernels]
        assert 0 < changed <= sum(array.nbytes for array in kernels) + CHECKSUM_BYTES * (len(kernels) + 1)

    def test_a_block_that_is_written_changes_no_other(self, path: Path, out: Path) -> None:
        before = self.arrays(path)
        with open_checkpoint(path) as source, Staging() as staging:
            changing = [variable for variable in source.variables if variable.key in self.kernels]
            sink = source.stage(staging, source.location.output(out), changing)
            blocks = {variable.key: partition(variable.shape, 8)[1] for variable in changing}
            for variable in changing:
                block = blocks[variable.key]
                values = source.read(variable, block)
                sink.write(variable, block, (values * 2).astype(values.dtype))
                assert equal(sink.read(variable, block), before[variable.key][block.box] * 2)
            sink.seal()
        after = self.arrays(out)
        for key, block in blocks.items():
            expected = before[key].copy()
            expected[block.box] *= 2
            assert equal(after[key], expected)
        assert all(equal(after[key], before[key]) for key in before.keys() - blocks.keys())
        assert self.rest(out) == self.rest(path)

    def test_a_second_apply_changes_nothing(self, path: Path, out: Path, tmp_path: Path) -> None:
        bound(path, out)
        again = tmp_path / "again" / out.name
        again.parent.mkdir()
        assert bound(out, again).totals.over == 0
        assert small.content(again.parent) == small.content(out.parent)

    def test_a_dry_run_says_what_an_apply_does_and_writes_nothing(self, path: Path, out: Path) -> None:
        dry = bound(path, out, dry_run=True)
        assert contents(out.parent) == {}
        wet = bound(path, out)
        assert dry.rows == wet.rows
        assert (dry.output, dry.skips, dry.notes) == (wet.output, wet.skips, wet.notes)

    def test_in_place_gives_what_another_place_gets(self, path: Path, out: Path) -> None:
        if not self.in_place:
            with pytest.raises(OutputError, match="written out as V2"):
                bound(path, None, in_place=True)
            return
        bound(path, out)
        bound(path, None, in_place=True)
        ours, theirs = self.arrays(path), self.arrays(out)
        assert ours.keys() == theirs.keys()
        assert all(equal(ours[key], theirs[key]) for key in ours)
        assert small.temporaries(path.parent) == []

    def test_an_output_that_is_another_than_was_written_is_never_published(self, path: Path, out: Path) -> None:
        for spoil in [cut] if self.rewrites else [cut, flip]:
            with (
                pytest.raises(OutputError, match="is not what was written") as told,
                staged(path, out) as (parts, check),
            ):
                check()
                spoil(parts)
                check()
            assert "\n" not in str(told.value)
            assert contents(out.parent) == {}
        with staged(path, out) as (_, check):
            check()
        assert contents(out.parent) != {}

    @pytest.mark.parametrize("share", CUTS)
    def test_a_file_that_is_cut_short_is_one_error_and_leaves_nothing_open(self, path: Path, share: float) -> None:
        for file in self.essential(path):
            whole = file.read_bytes()
            file.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 1)])
            before = open_files()
            with pytest.raises(FormatError, match=r"\A[^\n]+\Z"):
                look(path)
            assert open_files() == before
            file.write_bytes(whole)

    def test_a_checkpoint_that_is_closed_leaves_nothing_open(self, path: Path, out: Path) -> None:
        before = open_files()
        bound(path, out)
        look(out)
        find(path).close()
        assert open_files() == before

    def test_a_closed_checkpoint_reads_nothing_and_closes_no_file_of_others(self, path: Path, tmp_path: Path) -> None:
        source = open_checkpoint(path)
        key = next(iter(self.kernels))
        variable = next(one for one in source.variables if one.key == key)
        block = next(iter(partition(variable.shape, variable.elements)))
        source.read(variable, block)
        source.close()
        other = tmp_path / "other"
        other.write_bytes(b"x" * (1 << 20))
        # Eight times: the system gives the lowest numbers that are free, so those of the closed files.
        others = [os.open(other, os.O_RDONLY) for _ in range(8)]
        try:
            with pytest.raises(FormatError, match="was closed"):
                source.read(variable, block)
            source.close()
            assert [os.pread(fd, 1, 0) for fd in others] == [b"x"] * 8
        finally:
            for fd in others:
                os.close(fd)

    def test_a_file_that_changes_while_it_is_read_is_an_error(self, path: Path) -> None:
        for file in self.essential(path):
            with open_checkpoint(path) as source:
                source.check_unchanged()
                with file.open("ab") as appended:
                    appended.write(b"\0")
                with pytest.raises(FormatError, match="changed while it was read"):
                    source.check_unchanged()
            file.write_bytes(file.read_bytes()[:-1])


def native(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="))


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same bytes in the byte order of this machine; strings, the same strings."""
    if one.dtype.hasobject:
        return bool(np.array_equal(one, other))
    return one.shape == other.shape and native(one).tobytes() == native(other).tobytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def open_files() -> int:
    """How many descriptors this process has."""
    return len(list(FDS.iterdir())) if FDS.is_dir() else 0


@contextmanager
def staged(path: Path, out: Path) -> Iterator[tuple[Sequence[Staged], Callable[[], None]]]:
    """The parts of an output that `apply` has completed, before they get their names; and what it then checks."""
    engine = NumpyEngine()
    with open_checkpoint(path) as source:
        output = source.location.output(out)
        steps = make_plan(source.variables, (), Request(OneBound(Constraint(1.0)))).steps
        with Staging(protected=[file.path for file in source.files]) as staging:
            sink = source.stage(staging, output, [step.variable for step in steps])
            rows = run(steps, Work(source, engine, bound=True, sink=sink))
            sealed = sink.seal()

            def measure(copy: Checkpoint) -> tuple[Row, ...]:
                return run(steps, Work(copy, engine))

            reopen = partial(open_staged, staging, output)
            compare = partial(compared, imap=map)
            yield staging.parts, partial(verify, source, reopen, staging.parts, rows, sealed, measure, compare, SILENT)


def cut(parts: Sequence[Staged]) -> None:
    """Cut the largest file short."""
    part = max(parts, key=size)
    os.ftruncate(part.fd, size(part) // 2)


def flip(parts: Sequence[Staged]) -> None:
    """Change the last byte that was copied, in the largest copy."""
    part = max((part for part in parts if part.source is not None), key=size)
    at = [*part.copied()][-1][1] - 1
    os.pwrite(part.fd, bytes([os.pread(part.fd, 1, at)[0] ^ 1]), at)


def size(part: Staged) -> int:
    return os.fstat(part.fd).st_size
