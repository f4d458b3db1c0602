"""The files of a folder: those of a checkpoint that is one, with nothing outside, and the maps that name others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.storage.files import open_beside, read_parts, read_start, reason
from renorm_cli.storage.hub_cache import blob_of
from renorm_cli.storage.staging import Staging
from renorm_cli.storage.temporaries import is_temporary

_SHOWN = 100
_MOST_WITH = 200


def files_in(folder: Path, kind: str, most: int = 100_000) -> list[Path]:
    """All files below a folder, relative to it, in the order of their paths; temporaries of ours are none of it.

    Raises FormatError for a symbolic link, or a special file, that `all_in` tells apart, as a checkpoint may name
    nothing outside itself, and as that does.
    """
    found, others = all_in(folder, kind, most)
    for name in others:
        what = "a symbolic link" if (folder / name).is_symlink() else "neither a file nor a folder"
        raise FormatError(f"{str(folder)!r} holds {str(name)!r}, {what}; a checkpoint may name nothing outside itself")
    return found


def all_in(folder: Path, kind: str, most: int = 100_000) -> tuple[list[Path], list[Path]]:
    """All files below a folder, and its links and special files, relative to it, in the order of their paths.

    A link in the cache of Hugging Face that stands for a file there is one of the files. Raises FormatError for a
    folder that cannot be listed, and for more than `most` of them and folders where `kind` was expected.
    """
    found: list[Path] = []
    others: list[Path] = []
    waiting = [folder]
    folders = 0
    while waiting:
        folders += 1
        with _listed(waiting.pop(), folder) as entries:
            for entry in entries:
                if is_temporary(entry.name):
                    continue
                name = Path(entry.path).relative_to(folder)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                else:
                    is_file = entry.is_file(follow_symlinks=False) or blob_of(Path(entry.path)) is not None
                    (found if is_file else others).append(name)
        if len(found) + len(others) + len(waiting) + folders > most:
            raise FormatError(f"{str(folder)!r} holds more than {most} files; {kind} was expected")
    return sorted(found), sorted(others)


def files_with(endings: tuple[str, ...], folder: Path) -> list[Path]:
    """The files in a folder with one of the endings, by name, at most `_MOST_WITH`, no temporaries of ours among them.

    Raises OSError.
    """
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.name.endswith(endings) and not is_temporary(entry.name) and entry.is_file()
        )
    return [folder / name for name in names[:_MOST_WITH]]


def _listed(path: Path, folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    try:
        return os.scandir(path)
    except OSError as error:
        shown = str(path.relative_to(folder))
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise FormatError(f"{str(folder)!r}: its folder {shown!r} cannot be listed: {reason(error)}") from None


def carry(folder: Path, names: Iterable[Path], staging: Staging, tree: Path) -> None:
    """Copy files of a folder, named relative to it, into a tree of an output.

    Raises FormatError where one cannot be read, and OutputError.
    """
    for name in names:
        staging.folder(tree / name.parent)
        with closing(open_beside(folder / name)) as source:
            staging.carry(source, tree / name)


def contents(folder: Path, names: Iterable[Path]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Files of a folder, named relative to it: names, and bytes in parts. Raises FormatError."""
    for name in names:
        yield str(name), _content(folder / name)


def _content(path: Path) -> Iterator[bytes]:
    with closing(open_beside(path)) as file:
        yield from read_parts(file, 0, file.size)


def size_of(folder: Path, names: Iterable[Path]) -> int:
    """Bytes of files of a folder, named relative to it. Raises OSError."""
    return sum((folder / name).stat().st_size for name in names)


def map_of(part: Path, index: Path, most: int, before: Sequence[str] = ("",)) -> Path | None:
    """The map at `index`, if it is there and names the file `part` in its first bytes, at most so many.

    Names may have one of the texts `before` them.
    """
    if not index.is_file():
        return None
    with closing(open_beside(index)) as file:
        text = read_start(file, most)
        return index if any(json.dumps(one + part.name).encode() in text for one in before) else None
