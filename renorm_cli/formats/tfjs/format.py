"""The format of TensorFlow.js, told by its keys."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.folders import files_with, map_of
from renorm_cli.storage.files import open_source

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_USUAL = "model.json"
_PART = re.compile(r"(?:(.+)-)?group[0-9]+-shard[0-9]+of[0-9]+(?:\.bin)?|(?:(.+)\.)?weights\.bin", re.DOTALL)
"""The names of files of weights, with the stem of their model's where it is in them."""
_SHARD = re.compile(r"(?:(.+)-)?group[0-9]+-shard[0-9]+of[0-9]+(?:\.bin)?|(.+)-shard[0-9]+", re.DOTALL)
"""The names that no other file has; `-shard1` without an ending are those of older converters."""
_MAP_BYTES = 64 << 20
_BEFORE = ("", "./")
"""What browsers put before the names of files."""
_MANIFEST, _TOPOLOGY = b'"weightsManifest"', b'"modelTopology"'


class TfjsFormat(Format):
    """A JSON object with a manifest of weights, or that manifest alone, a list."""

    reads = "model.json of TensorFlow.js"
    endings = (".json",)
    searched = (_USUAL,)
    names_files = True

    def whole_of(self, path: Path) -> Path | None:
        """The model of a file of weights, beside it, if it names the file."""
        found = _PART.fullmatch(path.name) or _SHARD.fullmatch(path.name)
        if found is None:
            return None
        stem = found[1] or found[2]
        names = ([f"{stem}.json"] if stem else []) + [_USUAL]
        maps = (map_of(path, path.with_name(name), _MAP_BYTES, _BEFORE) for name in names)
        usual = next(filter(None, maps), None)
        return usual or (next(self.naming(path.parent, [path.name]), None) if path.is_file() else None)

    def naming(self, folder: Path, names: Collection[str]) -> Iterator[Path]:
        for model in files_with(self.endings, folder):
            if not set(names).isdisjoint(self._parts(model) or ()):
                yield model

    def recognises(self, head: Head) -> bool:
        """Writers put the format or the topology first; each is larger than what is seen of a file, maybe."""
        begun = head.first.removeprefix(BOM_UTF8).lstrip()
        if begun.startswith(b"{"):
            return _MANIFEST in head.first or _MANIFEST in head.last or _TOPOLOGY in head.first
        return begun.startswith(b"[") and all(
            one in head.first or one in head.last for one in (b'"paths"', b'"weights"')
        )

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Each model with the files that it names, told by its ends, and shards of a model that is not there.

        Configs have such names too, and are passed over. Where nothing is called as weights are, only usual names are
        looked at.
        """
        models = [*super().among(folder, names)]
        if any(name.endswith(".bin") or _SHARD.fullmatch(name) for name in names):
            models += [name for name in names if name.endswith(self.endings) and (folder / name).is_file()]
        told = {name: self._parts(folder / name) for name in dict.fromkeys(models)}
        found = {name: (name, *parts) for name, parts in told.items() if parts is not None}
        if any(parts == () for parts in told.values()):  # damaged: the shards may be its own
            return found
        return found | _without_model(names, {part for parts in found.values() for part in parts})

    def _parts(self, path: Path) -> Sequence[str] | None:
        """The files that a model names, none where it is damaged; None for what is no such model."""
        from renorm_cli.formats.tfjs.manifest import read_model

        try:
            with closing(open_source(path)) as file:
                if not self.recognises(Head(file)):
                    return None
                return [name for group in read_model(file).groups for name in group.names]
        except FormatError:
            return ()

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.tfjs.checkpoint import open_tfjs  # each format alone needs its parser

        return open_tfjs(found)


def _without_model(names: Collection[str], named: Collection[str]) -> dict[str, Sequence[str]]:
    """The shards of which no model names one, by their stems, each called by the first; others are left from a save."""
    stems: dict[str, list[str]] = {}
    for name in sorted(names):
        found = _SHARD.fullmatch(name)
        if found is not None:
            stems.setdefault(found[1] or found[2] or "", []).append(name)
    return {files[0]: files for files in stems.values() if not any(file in named for file in files)}
