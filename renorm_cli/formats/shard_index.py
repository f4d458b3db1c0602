"""The `.index.json` of a checkpoint in several files, as Hugging Face writes it: which file has each tensor.

Names and shapes come from the files; the map only says which files there are (transformers 5.24 reads it so).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import PlainCheckpoint
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import SourceFile, open_source, read_start
from renorm_cli.storage.staged import Staged
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import JsonError, is_file_name, most_values, parse_json, quoted

_MAP_BYTES = 64 << 20
_MOST_VALUES = 2_000_000
_MOST_SHARDS = 10_000
_DEPTH = 16
_ENDINGS = (".safetensors.index.json", ".bin.index.json", ".index.json", ".json")
_TEXT = r'"(?:[^"\\]|\\.)*+"'
_MAP = re.compile(rf'(?<="weight_map")[ \t\r\n]*:[ \t\r\n]*\{{(?:[^"}}]|{_TEXT})*+\}}')
_PAIR = re.compile(rf"({_TEXT}[ \t\r\n]*:[ \t\r\n]*)({_TEXT})")
_PART = re.compile(r"-[0-9]+-of-[0-9]+(\.[a-z]+)\Z")


class ShardIndex(NamedTuple):
    """The text of an index, and the files that it names, in order."""

    text: str
    names: tuple[str, ...]

    def told(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """What it tells; see `told_by_index`."""
        return told_by_index(self.text, self.names)


def told_by_index(text: str, names: Iterable[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """What an index tells by its own keys, with numbers for the files that it names, or has lists of, in order."""
    numbers = {name: number for number, name in enumerate(names, 1)}
    found = json.loads(text)
    found["weight_map"] = {
        key: [numbers[name] for name in value] if isinstance(value, list) else numbers[value]
        for key, value in found["weight_map"].items()
    }
    for key, value in found.items():
        yield f"{key!r} of the index", iter([json.dumps(value, sort_keys=True).encode()])


def read_shard_index(file: SourceFile) -> ShardIndex:
    """The index in an open file. Raises FormatError where it is no map of names to files beside it."""
    if file.size > _MAP_BYTES:
        raise FormatError(f"{file.shown!r} is {file.size} bytes; an index has at most {_MAP_BYTES}")
    return _parse(read_start(file, _MAP_BYTES), file.shown)


def named_shards(path: Path) -> tuple[str, ...]:
    """The names of the files in an index; none where it cannot be read."""
    try:
        with closing(open_source(path)) as file:
            return read_shard_index(file).names
    except FormatError:
        return ()


def _parse(raw: bytes, shown: str) -> ShardIndex:
    if most_values(raw) > _MOST_VALUES:
        raise FormatError(f"{shown!r} holds more than {_MOST_VALUES} values; no index does")
    try:
        text = raw.decode("utf-8")
        found = parse_json(text, depth=_DEPTH, strict=True)
    except UnicodeDecodeError:
        raise FormatError(f"{shown!r} is no UTF-8 text; an index of shards was expected") from None
    except JsonError as problem:
        raise FormatError(f"{shown!r} {problem}; an index of shards was expected") from None
    weight_map = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(f"{shown!r} has no weight_map of names to files; an index of shards was expected")
    names = sorted(set(weight_map.values()), key=str) if all(map(_is_plain, weight_map.values())) else None
    if names is None:
        odd = next(value for value in weight_map.values() if not _is_plain(value))
        told = quoted(odd) if isinstance(odd, str) else "that is no text"
        raise FormatError(f"{shown!r} names a file {told}; a plain file name beside the index was expected")
    if len(names) > _MOST_SHARDS:
        raise FormatError(f"{shown!r} names {len(names)} files; at most {_MOST_SHARDS} are read")
    return ShardIndex(text, tuple(names))


def _is_plain(name: object) -> bool:
    return is_file_name(name) and "\\" not in name


def staged_shards(
    checkpoint: PlainCheckpoint, index: ShardIndex, staging: Staging, output: Location, changing: Sequence[Variable]
) -> list[Staged]:
    """Staged copies of the shards of a checkpoint, whose last file is its index, and the index with their names."""
    *shards, own = checkpoint.files
    names = _output_names(index, own.path, output.name)
    staged = checkpoint.copies(staging, [output.beside(names[shard.path.name]) for shard in shards], changing)
    staging.write(output.path, _renamed(index, names, own.shown))
    return staged


def _output_names(index: ShardIndex, own: Path, output: str) -> dict[str, str]:
    """The names of the files of an output by those of the input; the same where the index keeps its name."""
    if output == own.name:
        return {name: name for name in index.names}
    stem = next((output.removesuffix(ending) for ending in _ENDINGS if output.endswith(ending)), Path(output).stem)
    made = {}
    for number, name in enumerate(index.names, 1):
        ending = part[1] if (part := _PART.search(name)) is not None else Path(name).suffix
        made[name] = f"{stem}-{number:05}-of-{len(index.names):05}{ending}"
    return made


def _renamed(index: ShardIndex, names: Mapping[str, str], shown: str) -> bytes:
    """The index with other names of files in its map, every other byte kept."""

    def other(pair: re.Match[str]) -> str:
        name = names.get(json.loads(pair[2]))
        return pair[0] if name is None else pair[1] + json.dumps(name)

    found = _MAP.search(index.text)
    start, end = found.span() if found is not None else (0, 0)
    raw = "".join((index.text[:start], _PAIR.sub(other, index.text[start:end]), index.text[end:])).encode("utf-8")
    if set(_parse(raw, shown).names) != set(names.values()):
        raise FormatError(
            f"{shown!r} has another weight_map before its own, or that name with escapes; write it plainly"
        )
    return raw
