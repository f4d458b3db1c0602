"""HDF5 files: Keras' legacy and v3 layouts, and any other with floating datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renorm_cli.formats.base import Checkpoint, Sink
from renorm_cli.formats.hdf5.naming import name_plainly
from renorm_cli.formats.hdf5.store import Hdf5Store
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.hdf5.worker import Hdf5Image
from renorm_cli.formats.keras.config import parse_config
from renorm_cli.formats.location import Location
from renorm_cli.formats.naming import Naming, join_copies
from renorm_cli.formats.numbers import same_bytes
from renorm_cli.model.blocks import Block
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.parallel.threads import Imap
from renorm_cli.storage.files import SourceFile
from renorm_cli.storage.staged import Staged, unwritten
from renorm_cli.storage.staging import Staging

if TYPE_CHECKING:
    import numpy.typing as npt

    from renorm_cli.parallel.memory import Buffer
    from renorm_cli.storage.checksum import Tally

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_LINKS_LISTED = 100

Place = tuple[int, str]
"""Which image of a checkpoint holds a variable, and under which path."""


class Hdf5Checkpoint(Checkpoint):
    """A checkpoint whose variables are datasets of one or more HDF5 images; here: of one file that is one image."""

    def __init__(
        self,
        format: str,
        path: Path,
        files: Sequence[SourceFile],
        stores: Sequence[Hdf5Store],
        places: Mapping[str, Place],
        naming: Naming,
        links: Mapping[str, str],
    ) -> None:
        self.stores = tuple(stores)
        self.places = places
        self.naming = naming
        self.links = links
        variables = join_copies(naming, partial(same_bytes, self))
        super().__init__(format, path, files, variables, (*naming.notes, *_link_notes(links)))

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        image, path = self.places[variable.key]
        return self.stores[image].read(path, block, into)

    def extent(self, variable: Variable) -> tuple[int, int] | None:
        image, path = self.places[variable.key]
        store = self.stores[image]
        offset = store.datasets[path].offset
        return None if offset is None else (image, store.base + offset)

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        return iter(()) if variable.dtype == "empty" else None

    def stage(self, staging: Staging, output: Location, changing: Sequence[Variable]) -> Sink:
        (store,) = self.stores
        staged = staging.copy(self.files[0], output.path, store.extents(self.paths(changing, 0)))
        return Hdf5Sink([store.staged(staged, store.base)], [staged], self.places)

    def paths(self, variables: Iterable[Variable], image: int) -> list[str]:
        """The paths of those of the variables that lie in one of the images."""
        places = (self.places[variable.key] for variable in variables)
        return [path for number, path in places if number == image]

    def close(self) -> None:
        for store in self.stores:
            store.close()
        super().close()


class Hdf5Sink(Sink):
    """Staged HDF5 images; `finish` is called once they are complete, if any was written."""

    def __init__(
        self,
        stores: Sequence[Hdf5Store],
        files: Sequence[Staged],
        places: Mapping[str, Place],
        finish: Callable[[Imap], dict[str, int]] = lambda imap: {},
    ) -> None:
        self._stores = stores
        self._files = files
        self._places = places
        self._finish = finish

    def write(self, variable: Variable, block: Block, values: npt.NDArray[Any]) -> None:
        image, path = self._places[variable.key]
        self._stores[image].write(path, block, values)

    def read(self, variable: Variable, block: Block, into: Buffer | None = None) -> npt.NDArray[Any]:
        image, path = self._places[variable.key]
        return self._stores[image].read(path, block, into)

    def seal(self, imap: Imap = map) -> dict[str, int]:
        for store in self._stores:
            store.close()
        for file in self._files:
            file.fill()
        if not any(store.written for store in self._stores):
            return {}
        try:
            return self._finish(imap)
        except OSError as error:
            raise unwritten(error) from None


def open_hdf5(file: SourceFile, like: Checkpoint | None = None) -> Hdf5Checkpoint:
    """Open one HDF5 file. Raises FormatError where it is damaged or names anything outside itself.

    A copy of `like` that holds the same datasets in the same places shares what is known of them.
    """
    if isinstance(like, Hdf5Checkpoint):
        known = same_image(file.fd, file.shown, 0, file.size, like.stores[0])
        if known is not None:
            return Hdf5Checkpoint(like.format, file.path, [file], [known], like.places, like.naming, like.links)
    store, survey = survey_image(file.fd, file.shown, 0, file.size)
    format, naming = name_file(survey, file.shown)
    places = {variable.key: (0, variable.key) for variable in naming.variables}
    return Hdf5Checkpoint(format, file.path, [file], [store], places, naming, survey.soft_links)


def survey_image(fd: int, shown: str, base: int, length: int, tally: Tally | None = None) -> tuple[Hdf5Store, Survey]:
    """What an HDF5 image holds, and the store to reach it; the worker lives on only where it is needed to read."""
    image = Hdf5Image(fd, base, length, shown)
    try:
        survey = image.survey()
    except BaseException:
        image.close()
        raise
    datasets = {dataset.path: dataset for dataset in survey.datasets}
    kept = _needed(image, datasets)
    store = Hdf5Store(fd, shown, datasets, base=base, length=length, image=kept, tally=tally, digest=image.digest)
    return store, survey


def same_image(
    fd: int, shown: str, base: int, length: int, known: Hdf5Store, tally: Tally | None = None
) -> Hdf5Store | None:
    """The store of an HDF5 image if it holds what that of `known` does, but for the data; else None."""
    image = Hdf5Image(fd, base, length, shown)
    try:
        if not image.is_as(known.digest):
            image.close()
            return None
    except BaseException:
        image.close()
        raise
    kept = _needed(image, known.datasets)
    return Hdf5Store(fd, shown, known.datasets, base=base, length=length, image=kept, tally=tally, digest=known.digest)


def _needed(image: Hdf5Image, datasets: Mapping[str, Dataset]) -> Hdf5Image | None:
    """The image if its worker is needed to read any of the datasets; else it is closed."""
    if any(dataset.offset is None and dataset.dtype in FLOATS for dataset in datasets.values()):
        return image
    image.close()
    return None


def name_file(survey: Survey, shown: str) -> tuple[str, Naming]:
    """Tell the layout of a file, and name its variables by it."""
    config = None if survey.model_config is None else parse_config(survey.model_config, f"{shown}: model_config")
    is_full = "model_weights" in survey.groups and (config is not None or "model_weights" in survey.layer_names)
    if is_full or "" in survey.layer_names:
        from renorm_cli.formats.keras import legacy_names  # each layout needs its own room, and none needs both

        format, top = ("keras-h5", "model_weights") if is_full else ("keras-h5-weights", "")
        return format, legacy_names.name_variables(survey, config, top)
    if is_v3(survey):
        from renorm_cli.formats.keras import v3_names

        return "keras-weights-h5", v3_names.name_variables(survey, config)
    return "hdf5", name_plainly(survey)


def is_v3(survey: Survey) -> bool:
    """Keras v3 weights: some group is named `vars`."""
    return any(group.rpartition("/")[2] == "vars" for group in survey.groups)


def _link_notes(links: Mapping[str, str]) -> list[Note]:
    notes = [Note(f"soft link {path!r} to {target!r}: left alone") for path, target in sorted(links.items())]
    more = len(notes) - _LINKS_LISTED
    return [*notes[:_LINKS_LISTED], Note(f"and {more} more soft links")] if more > 0 else notes
