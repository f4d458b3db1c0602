"""All formats, and how a path leads to one of them: by what is there, or by the content of the one file it names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from renorm_cli.errors import FormatError, OutputError, RenormError, Way
from renorm_cli.formats.base import Checkpoint, Format, Found, Head
from renorm_cli.formats.flax.format import FlaxFormat
from renorm_cli.formats.folders import all_in
from renorm_cli.formats.gguf.format import GgufFormat, GgufSplitFormat
from renorm_cli.formats.hub.format import ModelFolderFormat, ShardIndexFormat, weights_alone
from renorm_cli.formats.keras.format import Hdf5Format, KerasArchiveFormat, KerasShardsFormat, UnpackedArchive
from renorm_cli.formats.location import Folder, Location
from renorm_cli.formats.numpy.format import NpyFormat, NpzFormat
from renorm_cli.formats.onnx.format import OnnxFormat
from renorm_cli.formats.orbax.format import OrbaxFormat
from renorm_cli.formats.safetensors.format import Safetensors
from renorm_cli.formats.tensorflow.format import SavedModelFormat, TfCheckpointFormat, TfV1Format
from renorm_cli.formats.tfjs.format import TfjsFormat
from renorm_cli.formats.tflite.format import TfliteFormat
from renorm_cli.formats.torch.format import DistributedFormat, ExportedFormat, TorchStreamFormat, TorchZipFormat
from renorm_cli.storage.files import Opener, open_beside, open_source, reason
from renorm_cli.storage.hub_cache import leads_in, repository_of
from renorm_cli.storage.journal import is_journaled, refuse_half_replaced
from renorm_cli.storage.staging import Staging
from renorm_cli.text import shorten

FORMATS: tuple[Format, ...] = (
    ModelFolderFormat(),
    SavedModelFormat(),
    OrbaxFormat(),
    DistributedFormat(),
    UnpackedArchive(),
    GgufSplitFormat(),
    TfCheckpointFormat(),
    Hdf5Format(),
    TfV1Format(),
    Safetensors(),
    TfliteFormat(),
    GgufFormat(),
    NpyFormat(),
    NpzFormat(),
    ExportedFormat(),
    TorchZipFormat(),
    TorchStreamFormat(),
    FlaxFormat(),
    TfjsFormat(),
    ShardIndexFormat(),
    KerasShardsFormat(),
    KerasArchiveFormat(),
    OnnxFormat(),
)
"""The most specific first: the first format that locates a path, or recognises a file, has it."""

_ZIPS = (TorchZipFormat, KerasArchiveFormat)
_SHOWN = 200
"""Characters of a path in the one message that also names all formats."""


def find(path: Path, *, in_place: bool = False, output: Path | None = None) -> Found:
    """What `path` leads to. A file is opened, once, and its content is looked at; nothing else is.

    Where it is to be replaced (`in_place`), a link to a file stands for what it leads to, as if that was given: where
    other files are, and how they are called, follows from it. There, and where the `output` is to be a file, the folder
    of a model stands for the weights in it. Raises FormatError for a file or a directory that is no checkpoint we read,
    or a part of one, and OutputError where what is in the cache of Hugging Face is to be replaced, over whatever links.
    """
    try:
        if in_place and leads_in(path):  # several snapshots may share a file of it
            where = "leads to what is in" if repository_of(path) is None else "is in"
            raise OutputError(
                f"{str(path)!r} {where} the cache of Hugging Face, and stays as it was downloaded",
                Way("output", "write to another place"),
            )
        inside = weights_alone(path, output, in_place=in_place)
        if inside is not None:
            alone = find(inside)
            alone.folder = ModelFolderFormat().locate(path)
            return alone
        path = _first(format.named_by(path) for format in FORMATS) or path
        whole = _first(format.whole_of(path) for format in FORMATS)
        if whole is not None:
            raise FormatError(f"{str(path)!r} is a part of the checkpoint {str(whole)!r}; give that")
        located = _located(path)
        if located is not None:
            return located
        if path.is_dir():
            from renorm_cli.formats.mistaken import why_no_checkpoint  # says what is in a folder

            raise FormatError(f"{str(path)!r} {why_no_checkpoint(path, FORMATS, _known())}")
        if in_place and path.is_symlink():
            followed = find(Path(os.path.realpath(path)))
            followed.link = path
            return followed
        if not path.is_file():  # opening it will say what is wrong, unless a killed run is finished before
            return Found(path, _file(path), open_beside)
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise FormatError(f"{str(path)!r} cannot be opened: {reason(error)}") from None
    return _recognised(path, open_source, open_beside)


def _located(path: Path) -> Found | None:
    """The checkpoint that a path names by names of files and folders."""
    places = ((format, format.locate(path)) for format in FORMATS)
    found = next(((format, location) for format, location in places if location is not None), None)
    return None if found is None else Found(path, found[1], open_beside, found[0])


def wholes(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The checkpoints that files name or are parts of, each once, and the files that are neither.

    Any other path is taken as it is, and so is a file that a search of its folder takes. Raises nothing.
    """
    found: dict[Path, Path] = {}
    others: list[Path] = []
    for path in paths:
        whole: Path | None = path
        try:
            whole = _first(of(path) for format in FORMATS for of in (format.whole_of, format.named_by)) or path
            with find(whole) as one:
                if isinstance(one.format, _ZIPS) and whole.suffix == ".bin" and _is_other(whole):
                    others.append(path)  # such as the arguments of a training, which `torch.save` wrote
                else:
                    found.setdefault(one.location.index, one.path)
        except (FormatError, OSError, ValueError):  # opening it will say what is wrong
            if whole is path and _is_other(path):
                whole = _beside(path)
            if whole is None:
                others.append(path)
            else:
                found.setdefault(whole, whole)
    return list(found.values()), others


def _beside(path: Path) -> Path | None:
    """The checkpoint beside a file that names it."""
    try:
        return next((found for format in FORMATS for found in format.naming(path.parent, [path.name])), None)
    except (FormatError, OSError, ValueError):  # nobody can tell: opening the file will fail
        return path


def _is_other(path: Path) -> bool:
    """Whether a file is no checkpoint and no part of one, by its name."""
    try:
        named = any(format.whole_of(path) or format.among(path.parent, {path.name}) for format in FORMATS)
        return path.is_file() and not named
    except (FormatError, OSError, ValueError):  # a part whose whole is not there
        return False


def sharing(checkpoint: Checkpoint) -> Path | None:
    """Another checkpoint, in the same folder, that names a file of this one; None where none is found."""
    index = checkpoint.location.index
    own = os.path.realpath(index)
    names = [path.name for path in checkpoint.paths if path.parent == index.parent and path != index] or [index.name]
    for format in FORMATS:
        try:
            for other in format.naming(index.parent, names):
                if os.path.realpath(other) != own:
                    return other
        except (FormatError, OSError):  # what cannot be read names nothing that can be found
            continue
    return None


def is_one_of(path: Path, others: Iterable[Path | None]) -> bool:
    """Whether a path is one of the others, or a file, that is there, of a checkpoint that one of them names.

    Names of files tell, state files and maps beside them, and checkpoints that may name it, which are opened. Of one
    that is a folder, with all that it carries, every file in it is. Raises nothing.
    """
    given = [one for one in others if one is not None]
    here, real = os.path.realpath(path), {os.path.realpath(one) for one in given}
    place = Path(os.path.realpath(path.parent), path.name)  # a link that a run reads through is a file of it, too
    if here in real:
        return True
    if not path.is_file():
        return False
    if any(os.path.realpath(one) in real for whole in _wholes(path) for one in (whole, whole.parent)):
        return True
    above = {*map(str, Path(here).parents), *map(str, place.parents)}
    is_blob = leads_in(path)
    return any((is_blob or os.path.realpath(_folder(one)) in above) and _has_file(one, here, place) for one in given)


def _folder(path: Path) -> Path:
    return path if os.path.isdir(path) else path.parent  # noqa: PTH112  (Path.is_dir raises for some names)


def _has_file(path: Path, real: str, place: Path) -> bool:
    """Whether the checkpoint at a path, if there is one, has the file of that real path, or a link at that place."""
    try:
        with find(path) as found:
            if isinstance(found.location, Folder):
                folder = Path(os.path.realpath(found.location.path))
                if folder in Path(real).parents or folder in place.parents:
                    return True
                return any(os.path.realpath(folder / name) == real for name in all_in(folder, "a checkpoint")[0])
            if found.format is None or not found.format.names_files:
                return False
            with found.open() as checkpoint:
                return any(os.path.realpath(file) == real for file in (*checkpoint.paths, *checkpoint.beside))
    except (RenormError, OSError, ValueError):  # opening it will say what is wrong
        return False


def _wholes(path: Path) -> Iterator[Path]:
    """What names the checkpoints that a file may be a part of."""
    for format in FORMATS:
        try:
            place = format.location(path)
            found = (format.named_by(path), format.whole_of(path), None if place is None else place.path)
        except (FormatError, OSError, ValueError):  # opening it would say what is wrong
            continue
        yield from (whole for whole in found if whole not in (None, path))


def _first(found: Iterable[Path | None]) -> Path | None:
    return next((path for path in found if path is not None), None)


def locate(path: Path) -> Location:
    """Where the checkpoint is that `path` names. Raises FormatError as `find` does."""
    with find(path) as found:
        return found.location


def open_checkpoint(source: Path | Found) -> Checkpoint:
    """Open the checkpoint at a path, or the one that was found there.

    Raises FormatError if there is none, if it is damaged, or if it names files outside itself.
    """
    with find(source) if isinstance(source, Path) else source as found:
        index = found.location.index
        if is_journaled(index):
            refuse_half_replaced(index)
            return open_checkpoint(found.path)  # it was replaced by now
        if found.format is not None:
            return found.open()
        with _recognised(found.path, open_source, open_beside) as only:
            return only.open()


def open_staged(staging: Staging, output: Location, like: Checkpoint | None = None) -> Checkpoint:
    """Open an output before it has its name, as `open_checkpoint` will open it then.

    With `like`, the input, its names are taken over if all that they come from is the same; the caller compares the
    config in an archive.
    Raises FormatError as that does, and OutputError where the output cannot be completed.
    """
    staging.settle()
    path = staging.place(output.path)
    if type(output) is Location:
        found = _recognised(path, staging.reopen, staging.reopen)
        found.like = like
    else:
        format = next(format for format in FORMATS if format.places is type(output))
        found = Found(path, output, staging.reopen, format, like=like)
    with found:
        opened = found.open()
    if like is not None and like.said:
        opened.take_dtypes(like.said)
    return opened


def _recognised(path: Path, open_first: Opener, beside: Opener) -> Found:
    file = open_first(path)
    try:
        if file.size == 0:
            raise FormatError(f"{file.shown!r} is empty; a checkpoint file was expected")
        head = Head(file)
        for format in FORMATS:
            if format.recognises(head):
                return Found(path, format.location(path) or _file(path), beside, format, file)
        raise _unknown(head, file.shown)
    except BaseException:
        file.close()
        raise


def _unknown(head: Head, shown: str) -> FormatError:
    from renorm_cli.formats.mistaken import why_unknown  # says what else a file is

    what = why_unknown(head)
    return FormatError(
        f"{shorten(shown, _SHOWN)!r} is no checkpoint of a known format"
        f"{f' but {what}' if what else f'; {_known()} are read'}"
    )


def _file(path: Path) -> Location:
    return Location(path, path.name, _endings())


def _endings() -> tuple[str, ...]:
    return tuple(sorted({ending for format in FORMATS for ending in format.endings}, key=lambda one: (-len(one), one)))


def _known() -> str:
    *names, last = [format.reads for format in FORMATS if format.reads]
    return f"{', '.join(names)} and {last}"
