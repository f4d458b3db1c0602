"""The format of TensorFlow.js, told by its keys."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.folders import files_with
from renorm_cli.storage.files import open_beside, read_start

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_USUAL = "model.json"
_PART = re.compile(r"(?:(.+)-)?group[0-9]+-shard[0-9]+of[0-9]+(?:\.bin)?|(?:(.+)\.)?weights\.bin", re.DOTALL)
"""The names of files of weights, with the stem of their model's where it is in them."""
_MAP_BYTES = 64 << 20
_MANIFEST, _TOPOLOGY = b'"weightsManifest"', b'"modelTopology"'


class TfjsFormat(Format):
    """A JSON object with a manifest of weights, or that manifest alone, a list."""

    reads = "model.json of TensorFlow.js"
    endings = (".json",)
    searched = (_USUAL,)
    names_files = True

    def whole_of(self, path: Path) -> Path | None:
        """The model of a file of weights, beside it, if it names the file."""
        found = _PART.fullmatch(path.name)
        if found is None:
            return None
        stem = found[1] or found[2]
        names = ([f"{stem}.json"] if stem else []) + [_USUAL]
        return next((one for name in names if _names(one := path.with_name(name), path.name)), None)

    def naming(self, folder: Path, names: Collection[str]) -> Iterator[Path]:
        for model in files_with(self.endings, folder):
            if not set(names).isdisjoint(self._parts(model) or ()):
                yield model

    def recognises(self, head: Head) -> bool:
        """Writers put the format or the topology first; each is larger than what is seen of a file, maybe."""
        begun = head.first.lstrip()
        if begun.startswith(b"{"):
            return _MANIFEST in head.first or _MANIFEST in head.last or _TOPOLOGY in head.first
        return begun.startswith(b"[") and b'"paths"' in head.first and b'"weights"' in head.first

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Each model with the files that it names; configs of Keras have such names too, and are passed over."""
        models = [*super().among(folder, names)]
        models += [f"{part[1]}.json" for name in names if (part := _PART.fullmatch(name)) and part[1]]
        found = ((name, self._parts(folder / name)) for name in dict.fromkeys(models) if name in names)
        return {name: (name, *parts) for name, parts in found if parts is not None}

    def _parts(self, path: Path) -> Sequence[str] | None:
        """The files that a model names, none where it is damaged; None for what is no such model."""
        from renorm_cli.formats.tfjs.manifest import read_model

        try:
            with closing(open_beside(path)) as file:
                if not self.recognises(Head(file)):
                    return None
                return [name for group in read_model(file).groups for name in group.names]
        except FormatError:
            return ()

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.tfjs.checkpoint import open_tfjs  # each format alone needs its parser

        return open_tfjs(found)


def _names(model: Path, part: str) -> bool:
    """Whether there is a file of that path and it has the name of another file in it; browsers put "./" before."""
    if not model.is_file():
        return False
    with closing(open_beside(model)) as file:
        text = read_start(file, _MAP_BYTES)
    return any(json.dumps(before + part).encode() in text for before in ("", "./"))
