"""Sharded Keras weights: a `.weights.json` map and the HDF5 shards beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Found, Sink
from renorm_cli.formats.hdf5.store import Hdf5Data, Hdf5Store, Place
from renorm_cli.formats.hdf5.survey import Survey
from renorm_cli.formats.keras import v3_names
from renorm_cli.formats.keras.config import holds_too_much
from renorm_cli.formats.keras.hdf5_files import Contents, Hdf5Checkpoint, survey_image
from renorm_cli.formats.location import Location
from renorm_cli.formats.plain import PlainSink
from renorm_cli.formats.shard_index import told_by_index
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import SourceFile, open_source, read_start
from renorm_cli.storage.staging import Staging
from renorm_cli.untrusted import JsonError, is_file_name, parse_json

SUFFIX = ".weights.json"

_MAP_BYTES = 64 << 20
_MOST_SHARDS = 10_000
_DEPTH = 200


class KerasShards(Hdf5Checkpoint):
    """Files are the shards and, last, the map: without the map there is no checkpoint."""

    def __init__(
        self, found: Found, shards: Sequence[SourceFile], map_text: str, data: Hdf5Data, contents: Contents
    ) -> None:
        self._map_text = map_text
        super().__init__("keras-weights-json", found, (*shards, found.only), data, contents)

    def rest(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        return told_by_index(self._map_text, [file.path.name for file in self.files[:-1]])

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        *shards, index = self.files
        names = {shard.path.name: _shard_name(output.name, number) for number, shard in enumerate(shards)}
        if output.name == index.path.name:
            names = {name: name for name in names}
        staged = self.copies(staging, [output.beside(names[shard.path.name]) for shard in shards], changing)
        staging.write(output.path, _renamed(self._map_text, names, index.shown).encode("utf-8"))
        return PlainSink(self.data.staged(staged), staged)


def open_keras_shards(found: Found) -> KerasShards:
    """Open the map and all shards it names. Raises FormatError for a bad map, or a shard that is missing or damaged."""
    file = found.only
    if file.size > _MAP_BYTES:
        raise FormatError(f"{file.shown!r} is {file.size} bytes; a {SUFFIX} map has at most {_MAP_BYTES}")
    text, shard_names = _parse_map(read_start(file, _MAP_BYTES), file.shown)
    with ExitStack() as opened:
        shards: list[SourceFile] = []
        stores: list[Hdf5Store] = []
        surveys: list[Survey] = []
        for name in shard_names:
            shard = found.beside(file.path.with_name(name))
            opened.callback(shard.close)
            store, survey = survey_image(shard.descriptor(), shard.shown, 0, shard.size)
            opened.callback(store.close)
            shards.append(shard)
            stores.append(store)
            surveys.append(survey)
        contents, places = _merge(surveys, file.shown)
        checkpoint = KerasShards(found, shards, text, Hdf5Data(shards, stores, places), contents)
        opened.pop_all()
    return checkpoint


def named_shards(path: Path) -> tuple[str, ...]:
    """The names of the shards in a map; none where it cannot be read."""
    try:
        with closing(open_source(path)) as file:
            return _parse_map(read_start(file, _MAP_BYTES), file.shown)[1]
    except FormatError:
        return ()


def _parse_map(raw: bytes, shown: str) -> tuple[str, tuple[str, ...]]:
    """The text of the map and the shards it names, in order of their names."""
    wrong = f"{shown!r} is not a Keras {SUFFIX} map"
    try:
        text = raw.decode("utf-8")
        if holds_too_much(text):
            raise FormatError(f"{wrong}: it holds millions of values, no map does")
        found = parse_json(text, depth=_DEPTH)
    except (UnicodeDecodeError, JsonError):
        raise FormatError(f"{wrong}: it is not JSON text") from None
    weight_map = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(f"{wrong}: it has no weight_map of names to shard files")
    names: set[str] = set()
    for value in weight_map.values():
        for name in value if isinstance(value, list) else [value]:
            if not is_file_name(name) or "\\" in name:
                raise FormatError(f"{shown!r} names the shard {name!r}; a plain file name beside the map was expected")
            names.add(name)
    if len(names) > _MOST_SHARDS:
        raise FormatError(f"{shown!r} names {len(names)} shards; at most {_MOST_SHARDS} are read")
    return text, tuple(sorted(names))


def _merge(surveys: Sequence[Survey], shown: str) -> tuple[Contents, dict[str, Place]]:
    """Name the variables of all shards as those of one file; a group may span shards, a dataset may not.

    Keras writes the attribute `name` of a group into the first of its shards only.
    """
    places: dict[str, Place] = {}
    for number, survey in enumerate(surveys):
        for dataset in survey.datasets:
            if dataset.path in places:
                raise FormatError(f"{shown!r}: two shards hold {dataset.path!r}; each variable has one place")
            places[dataset.path] = Place(number, dataset.path)
    merged = Survey(
        datasets=tuple(dataset for survey in surveys for dataset in survey.datasets),
        groups=frozenset().union(*(survey.groups for survey in surveys)),
        names={path: name for survey in reversed(surveys) for path, name in survey.names.items()},
        layer_names={},
        weight_names={},
        soft_links={path: target for survey in surveys for path, target in survey.soft_links.items()},
    )
    return Contents(v3_names.name_variables(merged, None), merged.soft_links), places


def _shard_name(output: str, number: int) -> str:
    """The name Keras looks for: the first shard of `m.weights.json` must be `m_00000.weights.h5`."""
    return f"{output.removesuffix('.json').removesuffix('.weights')}_{number:05}.weights.h5"


def _renamed(text: str, names: Mapping[str, str], shown: str) -> str:
    """The map with other shard names, every other byte kept."""
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    found = _parse_map(text.encode("utf-8"), shown)[1]
    if set(found) != set(names.values()):
        raise FormatError(f"{shown!r} writes its shard names with escapes; plain names were expected")
    return text
