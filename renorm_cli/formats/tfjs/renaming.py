"""A model of TensorFlow.js with other names of files, every other byte kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats.tfjs.manifest import HERE, Model, parse_model

_KEY = re.compile(r'"paths"[ \t\r\n]*:[ \t\r\n]*\[')
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_ITEM = re.compile(rf"[ \t\r\n]*{_TEXT.pattern}[ \t\r\n]*[,\]]")
"""A text in a list, and what follows it."""


def output_names(model: Model, own: str, output: str) -> dict[str, str]:
    """The names of the files of an output by those of the input `own`; the same where the model keeps its name.

    The stem of the model comes before each, in place of its old stem: `m-renorm-group1-shard1of2.bin`.
    """
    names = [name for group in model.groups for name in group.names]
    if output == own:
        return {name: name for name in names}
    old, new = Path(own).stem, Path(output).stem
    made = {name: f"{new}{name[len(old) :]}" if name.startswith((f"{old}-", f"{old}.")) else "" for name in names}
    made = {name: told or f"{new}-{name}" for name, told in made.items()}
    if len({*made.values(), output}) <= len(made):
        made = {name: f"{new}-{name}" for name in names}
    return made


def renamed(model: Model, names: Mapping[str, str], output: str, shown: str) -> bytes:
    """The text of the model with other names in its paths.

    Raises FormatError where lists like those of the paths stand elsewhere, too.
    """

    def other(token: re.Match[str]) -> str:
        path: str = json.loads(token[0])
        name = path.removeprefix(HERE)
        return token[0] if names[name] == name else json.dumps(path[: len(path) - len(name)] + names[name])

    parts: list[str] = []
    kept = 0
    for start, end in _lists(model):
        parts += model.text[kept:start], _TEXT.sub(other, model.text[start:end])
        kept = end
    raw = "".join((*parts, model.text[kept:])).encode("utf-8")
    again = parse_model(raw, output, shown)
    wanted = [tuple(names[name] for name in group.names) for group in model.groups]
    if [group.names for group in again.groups] != wanted or _without_paths(again) != _without_paths(model):
        raise FormatError(f"{shown!r} has lists of its files also elsewhere than in its manifest")
    return raw


def _lists(model: Model) -> Iterator[tuple[int, int]]:
    """Where the lists of the paths begin and end in the text; other lists under such a key are passed over."""
    text = model.text
    wanted = {json.dumps(group["paths"]) for group in model.manifest}
    for key in _KEY.finditer(text):
        start = end = key.end() - 1
        while (found := _ITEM.match(text, end + 1)) is not None:
            end = found.end() - 1
            if text[end] == "]":
                if json.dumps(json.loads(text[start : end + 1])) in wanted:
                    yield start, end + 1
                break


def _without_paths(model: Model) -> object:
    return [(name, b"".join(parts)) for name, parts in model.rest()]
