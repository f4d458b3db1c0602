"""The folder of a model: its weights are read and patched as if they were alone, every other file is carried over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.base import Checkpoint, Extent, Found, Head, Sink, digest
from renorm_cli.formats.folders import all_in, carry, contents, size_of
from renorm_cli.formats.hub.format import ShardIndexFormat
from renorm_cli.formats.location import Location
from renorm_cli.formats.mistaken import why_unknown
from renorm_cli.formats.plain import PlainCheckpoint
from renorm_cli.formats.safetensors.format import Safetensors
from renorm_cli.formats.torch.format import TorchStreamFormat, TorchZipFormat
from renorm_cli.model.plan import Note
from renorm_cli.model.readers import Readers
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.journal import refuse_half_replaced
from renorm_cli.storage.permissions import readers_of
from renorm_cli.storage.staging import Staging
from renorm_cli.storage.temporaries import is_temporary

_READ = (Safetensors(), ShardIndexFormat(), TorchZipFormat(), TorchStreamFormat())
_WEIGHTS = re.compile(
    r".*\.(?:bin|ckpt|gguf|h5|jit|keras|msgpack|npz|onnx|onnx_data|ot|pt|pt2|pth|safetensors|tflite)", re.DOTALL
)
_OF_TRAINING = re.compile(r"(?:optimizer|rng_state|scaler|scheduler|training_args)[^/]*")


class ModelFolderCheckpoint(PlainCheckpoint):
    """The `weights` in a folder, and the names of all other files below it, which are `carried` over.

    `odd` are links and special files, with which there can be no copy.
    """

    def __init__(
        self, found: Found, weights: PlainCheckpoint, carried: Sequence[Path], odd: Sequence[Path] = ()
    ) -> None:
        notes = (*weights.notes, *_further((*carried, *odd)))
        super().__init__(weights.format, found, weights.files, weights.variables, weights.data, notes)
        self._weights, self._carried, self._odd = weights, tuple(carried), tuple(odd)

    @property
    def size(self) -> int:
        return super().size + size_of(self.path, self._carried)

    @property
    def paths(self) -> Sequence[Path]:
        return [*super().paths, *(self.path / name for name in self._carried)]

    @property
    def readers(self) -> Readers:
        return readers_of([self.path, *self.paths])

    @property
    def checksums(self) -> dict[str, int]:
        return self._weights.checksums

    def damage(self, imap: Imap = map) -> tuple[str, ...]:
        return self._weights.damage(imap)

    def extent(self, variable: Variable) -> Extent | None:
        return self._weights.extent(variable)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        yield from self._weights.rest()
        yield from contents(self.path, self._carried)

    def context(self) -> dict[str, str | None]:
        odd = dict.fromkeys(f"the file {str(name)!r}" for name in self._odd)
        beside = {f"the file {name!r}": digest(content) for name, content in contents(self.path, self._carried)}
        return self._weights.context() | odd | beside

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        tree = staging.tree(output.path)
        carry(self.path, self._carried, staging, tree)
        name = self._weights.location.name
        return self._weights.stage(staging, Location(tree / name, name), changing)

    def close(self) -> None:
        super().close()
        self._weights.close()


def open_model_folder(found: Found, inside: Path) -> ModelFolderCheckpoint:
    """Open a folder, by the file `inside` that stands for all weights.

    Raises FormatError where these are damaged.
    """
    refuse_half_replaced(inside)
    with ExitStack() as opened:
        weights = _open(found, inside)
        opened.callback(weights.close)
        try:
            names, odd = all_in(found.path, "the folder of a model")
        except FormatError as error:
            raise FormatError(f"{error.text}; or give {str(inside)!r} alone") from None
        own = {Path(file.path.name) for file in weights.files}
        checkpoint = ModelFolderCheckpoint(found, weights, [name for name in names if name not in own], odd)
        opened.pop_all()
    return checkpoint


def _open(found: Found, path: Path) -> PlainCheckpoint:
    file = found.beside(path)
    with Found(path, Location(path, path.name), found.beside, file=file, like=found.like) as alone:
        head = Head(file)
        alone.format = next((format for format in _READ if format.recognises(head)), None)
        if alone.format is None:
            what = why_unknown(head)
            kind = f"is {what}" if what else "is no file of safetensors or PyTorch"
            raise FormatError(f"{file.shown!r} {kind}; weights were expected")
        weights = alone.open()
    assert isinstance(weights, PlainCheckpoint)
    return weights


def further_weights(folder: Path, weights: Checkpoint) -> tuple[Note, ...]:
    """The warning of further weights in a folder, beside those that were opened."""
    own = set(weights.paths)
    inside = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    names = sorted(path.relative_to(folder) for path in inside if path not in own)
    return _further([name for name in names if not any(map(is_temporary, name.parts))])


def _further(names: Sequence[Path]) -> tuple[Note, ...]:
    """A warning where the folder holds further weights, by their names: a loader may take these."""
    others = [str(name) for name in names if _WEIGHTS.fullmatch(name.name) and not _OF_TRAINING.fullmatch(name.name)]
    if not others:
        return ()
    return (Note(f"{some_names(others)}: further weights in the folder, neither measured nor changed", warning=True),)
