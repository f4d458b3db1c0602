"""What is done with a mutant: everything the tool does to a file before it computes. RenormError is a fine answer."""

from __future__ import annotations

import io
import os
import random
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.found import file_at

from renorm_cli.api.verbs import apply
from renorm_cli.errors import FormatError, RenormError
from renorm_cli.formats.apart import Worker
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.hdf5 import server as hdf5_server
from renorm_cli.formats.hdf5 import store as hdf5_store
from renorm_cli.formats.hdf5 import worker as hdf5_worker
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.keras import hdf5_files as hdf5_checkpoint
from renorm_cli.formats.keras import shards
from renorm_cli.formats.keras.config import parse_config
from renorm_cli.formats.keras.hdf5_files import name_file
from renorm_cli.formats.naming import Naming
from renorm_cli.formats.zip import archive as zip_archive
from renorm_cli.model.blocks import partition
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.storage.files import LocalFile, open_source

_BLOCK = 1 << 16
_BLOCKS = 4
"""A mutant may claim a large tensor that it has; its first and last blocks are enough to read."""

SHM = Path("/dev/shm")


def plan_all(variables: Sequence[Variable]) -> None:
    """The plans of `inspect` and of `apply`."""
    for wanted in (Request(OneBound(Constraint()), must_act=False), Request(OneBound(Constraint(0.5)))):
        try:
            make_plan(variables, (), wanted)
        except RenormError:
            continue


def read_all(source: Checkpoint) -> None:
    """The first and the last blocks of every floating variable."""
    for variable in source.variables:
        if variable.dtype in FLOATS and variable.locked is None:
            blocks = partition(variable.shape, _BLOCK // FLOATS[variable.dtype].nbytes)
            for block in (*blocks[:_BLOCKS], *blocks[_BLOCKS:][-1:]):
                values = source.read(variable, block)
                assert values.shape == block.shape


# HDF5


class Hdf5Target:
    """`open_hdf5` and reads, as in the tool, but with one worker for many files: it lives until a mutant kills it."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="renorm-fuzz-", dir=SHM if SHM.is_dir() else None)
        self._path = Path(folder) / "mutant.h5"
        self._path.touch()
        self.deaths = 0
        self.accepted = 0
        self._line = _Line(self._path)

    def __call__(self, data: bytes, number: int) -> None:
        """Every fiftieth mutant goes the way of the tool, with a worker of its own."""
        self._path.write_bytes(data)
        file = open_source(self._path)
        try:
            if number % 50 == 0:
                self._open(file)
            else:
                with self._line:
                    self._open(file)
        finally:
            file.close()

    def _open(self, file: Any) -> None:
        own = replace(file, fd=os.dup(file.fd))
        try:
            source = hdf5_checkpoint.open_hdf5(file_at(self._path, own))
        except BaseException as error:
            own.close()
            self.deaths += "died on it" in str(error) or "was stopped" in str(error)
            raise
        with source:
            self.accepted += 1
            plan_all(source.variables)
            read_all(source)

    def close(self) -> None:
        self._line.end()
        self._path.unlink()
        self._path.parent.rmdir()


class _Line:
    """Puts an image in place of Hdf5Image that asks a common worker."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self._worker: Worker | None = None
        self._served = 0
        self._modules = (hdf5_checkpoint, hdf5_store)

    def _serve(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
        if request["op"] == "next":
            if self._server is not None and self._server._file is not None:
                self._server._close()
            self._server = hdf5_server.Server(self._h5, self._fd, 0, request["length"], "mutant", False)
            return {}, b""
        return self._server.serve(request, payload)

    def call(self, request: dict[str, Any], limit: int = 0) -> tuple[dict[str, Any], bytes]:
        return self.worker().call(request, deadline=1.0, limit=limit)

    def worker(self) -> Worker:
        if self._worker is None or self._worker._pid is None or self._served > 2000:
            self.end(final=False)
            self._server: Any = None
            self._served = 0
            self._h5 = hdf5_server.library()
            self._worker = Worker(self._serve, "mutant", "HDF5", keep=(self._fd,), memory=hdf5_worker.MEMORY)
        return self._worker

    def next(self, length: int) -> None:
        """A file that cannot even be closed is the fault of the one before."""
        self._served += 1
        try:
            self.call({"op": "next", "length": length})
        except FormatError:
            self.end(final=False)
            self.call({"op": "next", "length": length})

    def end(self, *, final: bool = True) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if final:
            os.close(self._fd)

    def __enter__(self) -> Self:
        line = self

        class Image(hdf5_worker.Hdf5Image):
            def __init__(self, fd: int, base: int, length: int | None, shown: str, *, writable: bool = False) -> None:
                self._length = os.fstat(fd).st_size if length is None else length
                self._shown, self._unsaved, self._filled = shown, False, 0
                line.next(self._length)

            def _call(
                self,
                request: dict[str, Any],
                size: int,
                payload: bytes | memoryview = b"",
                limit: int = 0,
                processor: int = 1,
            ) -> tuple[dict[str, Any], bytes]:
                return line.call(request, limit)

            def close(self) -> None:
                pass

        for module in self._modules:
            module.Hdf5Image = Image  # type: ignore[misc]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module in self._modules:
            module.Hdf5Image = hdf5_worker.Hdf5Image  # type: ignore[misc]


# Keras configs and attributes


class ConfigTarget:
    """The config of a model and the lists of a file's attributes, both mutated, against each other."""

    def __init__(self, surveys: dict[str, Survey]) -> None:
        self._surveys = surveys
        self._names = sorted(surveys)

    def __call__(self, data: bytes, number: int) -> None:
        chance = random.Random(number)
        survey = self._surveys[chance.choice(self._names)]
        if chance.random() < 0.7:
            survey = odd_survey(chance, survey)
        text = data.decode("utf-8", "surrogateescape")
        parse_config(text, "mutant")
        _, naming = name_file(survey._replace(model_config=text), "mutant")
        self._check(survey, naming)
        plan_all(naming.variables)

    def _check(self, survey: Survey, naming: Naming) -> None:
        """Every dataset is there once, under names and keys of its own."""
        assert sorted(variable.key for variable in naming.variables) == sorted(item.path for item in survey.datasets)
        assert len({variable.name for variable in naming.variables}) == len(naming.variables)


_WORDS = (
    "", "dense", "dense_1", "vars", "layers", "kernel", "kernel:0", "bias", "cell", "layer", "forward_layer", "a/b",
    "/", "..", "\udcff", "\x1b[0m", "x" * 300, "model_weights", "optimizer", "optimizer_weights",
    "top_level_model_weights", "0", "007", "9" * 400, "_", "lstm", "lstm_cell", "multi_head_attention", "_query_dense",
    "seed_generator", "spectral_normalization", "batch_normalization", "einsum_dense", "embeddings", "bidirectional",
)  # fmt: skip
_SHAPES = ((), (0,), (1,), (3, 0, 2), (2**40, 0), (5, 7), (1,) * 32, (2, 3, 4, 5), (2**62,), (8,), (4, 6), (6, 24))


def odd_survey(chance: random.Random, survey: Survey) -> Survey:
    """What a hostile file may say of itself: any attribute, any name, any shape, but datasets of distinct paths."""
    for _ in range(chance.choice((1, 2, 4, 8))):
        match chance.randrange(6):
            case 0:
                survey = survey._replace(names=_odd_mapping(chance, survey.names, chance.choice(_WORDS)))
            case 1:
                survey = survey._replace(
                    layer_names=_odd_mapping(chance, survey.layer_names, _odd_list(chance, survey.layer_names))
                )
            case 2:
                survey = survey._replace(
                    weight_names=_odd_mapping(chance, survey.weight_names, _odd_list(chance, survey.weight_names)),
                )
            case 3:
                survey = survey._replace(groups=survey.groups ^ {_odd_path(chance, survey)})
            case 4:
                survey = survey._replace(soft_links={**survey.soft_links, _odd_path(chance, survey): "/x"})
            case _:
                survey = survey._replace(datasets=tuple(_odd_datasets(chance, survey)))
    return survey


def _odd_mapping(chance: random.Random, known: Any, value: Any) -> dict[str, Any]:
    made = dict(known)
    keys = [*made, *_WORDS[1:6], *_WORDS[16:24], "layers/dense/vars", "model_weights", ""]
    key = chance.choice(keys)
    if chance.random() < 0.3 and made:
        made.pop(chance.choice(list(made)))
    made[key] = value
    return made


def _odd_list(chance: random.Random, known: Any) -> tuple[str, ...]:
    words = list(chance.choice([*known.values(), ()]))
    for _ in range(chance.choice((1, 2, 5))):
        at = chance.randrange(len(words) + 1)
        words[at : at + chance.randrange(2)] = [chance.choice((*_WORDS, *words))]
    return tuple(words)


def _odd_path(chance: random.Random, survey: Survey) -> str:
    parts = chance.choice([item.path for item in survey.datasets] or ["x"]).split("/")
    parts[chance.randrange(len(parts))] = chance.choice(_WORDS)
    return "/".join(filter(None, "/".join(parts).split("/"))) or "x"


def _odd_datasets(chance: random.Random, survey: Survey) -> Iterable[Dataset]:
    seen: set[str] = set()
    for item in survey.datasets:
        if chance.random() < 0.3:
            path = _odd_path(chance, survey)
            kept = _turned(item.shape)
            item = item._replace(
                path=path if chance.random() < 0.5 else item.path,
                shape=chance.choice((*_SHAPES, kept)),
                dtype=chance.choice(("float32", "float16", "int8", "string", "opaque", "bfloat16", item.dtype)),
                links=(_odd_path(chance, survey),) if chance.random() < 0.3 else item.links,
                locked="odd" if chance.random() < 0.1 else None,
            )
        if item.path not in seen:
            seen.add(item.path)
            yield item


def _turned(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The same axes in the other order."""
    return shape[::-1]


def survey_bytes(data: bytes) -> Survey:
    """The survey of a sound file."""
    fd = os.memfd_create("seed")
    try:
        os.write(fd, data)
        with hdf5_worker.Hdf5Image(fd, 0, len(data), "seed") as image:
            return image.survey()
    finally:
        os.close(fd)


# Zip


class ZipTarget:
    """All headers, all members; what we accept, zipfile reads and agrees with, also after a member was replaced."""

    def __init__(self) -> None:
        self._fd, self._out = os.memfd_create("mutant"), os.memfd_create("out")
        self.accepted = 0

    def __call__(self, data: bytes, number: int) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)
        archive = zip_archive.read_archive(file := LocalFile.of(Path("mutant"), self._fd))
        self.accepted += 1
        sound = True
        for member in archive.members:
            try:
                content = zip_archive.read_member(file, member, 1 << 20)
                zip_archive.inflate(file, member, self._out)
            except RenormError:
                sound = False
                continue
            assert os.pread(self._out, member.size, 0) == content
        with zipfile.ZipFile(io.BytesIO(data)) as theirs:
            assert theirs.namelist() == [member.name for member in archive.members], "zipfile sees other members"
        if sound:
            assert _zipfile(data)[1] is None, "zipfile does not read a member"
            if archive.members:
                self._replace(archive, archive.members[number % len(archive.members)], number)

    def _replace(self, archive: zip_archive.Archive, member: zip_archive.Member, number: int) -> None:
        content = b"new content" * (number % 7)
        os.ftruncate(self._out, 0)
        os.pwrite(self._out, content, 0)
        made = os.memfd_create("made")
        try:
            old, new = (LocalFile.of(Path("mutant"), fd) for fd in (self._fd, self._out))
            zip_archive.repack(old, archive, member, new, len(content), made, 8 * (number % 2))
            output = LocalFile.of(Path("made"), made)
            again = zip_archive.read_archive(output)
            assert [item.name for item in again.members] == [item.name for item in archive.members]
            found = next(item for item in again.members if item.name == member.name)
            assert zip_archive.read_member(output, found, 1 << 20) == content
            assert _zipfile(os.pread(made, output.size, 0)) == ([item.name for item in archive.members], None)
        finally:
            os.close(made)

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._out)


def _zipfile(data: bytes) -> tuple[list[str], str | None]:
    """The names that zipfile sees, and the first member it cannot read."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist(), archive.testzip()


# Shard maps


class MapTarget:
    """The map's text, and new names in it, as for an output of another name."""

    def __init__(self) -> None:
        self.accepted = 0

    def __call__(self, data: bytes, number: int) -> None:
        text, names = shards._parse_map(data, "mutant")
        self.accepted += 1
        assert all(name and not set(name) & set("/\\\0") and name not in (".", "..") for name in names)
        new = {name: shards._shard_name("out.weights.json", index) for index, name in enumerate(names)}
        shards._renamed(text, new, "mutant")


# The whole tool


class ApplyTarget:
    """`apply` from the file to the published output, as the command line calls it, in a folder of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="renorm-fuzz-", dir=SHM if SHM.is_dir() else None))
        self._path, self._output = self._folder / "mutant", self._folder / "out"
        self.accepted = 0

    def __call__(self, data: bytes, number: int) -> None:
        self._path.write_bytes(data)
        try:
            apply(self._path, self._output, max_norm=0.5, nonfinite="skip", engine="numpy", jobs=1)
        except RenormError:
            assert self._names() == {"mutant"}, "an output or a temporary file is left after an error"
            raise
        self.accepted += 1
        assert "out" in self._names()
        assert not any(name.startswith(".renorm-") for name in self._names())
        assert self._path.read_bytes() == data, "the input was changed"
        for name in self._names() - {"mutant"}:
            (self._folder / name).unlink()

    def _names(self) -> set[str]:
        return {entry.name for entry in self._folder.iterdir()}

    def close(self) -> None:
        shutil.rmtree(self._folder)
