"""HDF5 files: Keras' legacy and v3 layouts, and any other with floating datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from renorm_cli.formats.base import Found
from renorm_cli.formats.hdf5.naming import is_inside, name_plainly
from renorm_cli.formats.hdf5.store import Hdf5Data, Hdf5Store, Place
from renorm_cli.formats.hdf5.survey import Survey
from renorm_cli.formats.hdf5.worker import Hdf5Image
from renorm_cli.formats.keras.config import parse_config
from renorm_cli.formats.naming import Naming, join_copies
from renorm_cli.formats.numbers import same_bytes
from renorm_cli.formats.plain import PlainCheckpoint
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.storage.files import SourceFile

_LINKS_LISTED = 100


class Contents(NamedTuple):
    """What the images of a checkpoint hold: its named variables, and the soft links, which are left alone."""

    naming: Naming
    links: Mapping[str, str]


class Hdf5Checkpoint(PlainCheckpoint):
    """A checkpoint whose variables are datasets of one or more HDF5 images; here: of one file that is one image."""

    data: Hdf5Data

    def __init__(
        self, format: str, found: Found, files: Sequence[SourceFile], data: Hdf5Data, contents: Contents
    ) -> None:
        self.contents = contents
        variables = join_copies(contents.naming, partial(same_bytes, data))
        super().__init__(format, found, files, variables, data, (*contents.naming.notes, *_link_notes(contents.links)))

    def context(self) -> dict[str, str | None]:
        found = super().context()
        for number, store in enumerate(self.data.stores):
            where = f" of shard {number}" if number else ""
            found |= {f"{name}{where}": value for name, value in store.context().items()}
        return found

    def raw(self, variable: Variable) -> Iterator[bytes] | None:
        """See `Checkpoint.raw`; a digest, which HDF5's process makes, stands for the bytes."""
        self._refuse_closed()
        if variable.dtype == "empty":
            return iter(())
        image, path = self.data.places[variable.key]
        found = self.data.stores[image].stored(path)
        return None if found is None else iter((found.encode(),))


def begin_hdf5(found: Found) -> Hdf5Image:
    """Start the process that reads the headers of an HDF5 file, and has to load the library before."""
    file = found.only
    return Hdf5Image(file.descriptor(), 0, file.size, file.shown, ahead=True)


def open_hdf5(found: Found) -> Hdf5Checkpoint:
    """Open one HDF5 file. Raises FormatError where it is damaged or names anything outside itself."""
    file = found.only
    like = found.like if type(found.like) is Hdf5Checkpoint else None
    store = None if like is None else same_image(file.descriptor(), file.shown, 0, file.size, like.data.stores[0])
    if like is not None and store is not None:
        return Hdf5Checkpoint(like.format, found, [file], Hdf5Data([file], [store], like.data.places), like.contents)
    begun = found.begun if isinstance(found.begun, Hdf5Image) else None
    store, survey = survey_image(file.descriptor(), file.shown, 0, file.size, begun)
    format, naming = name_file(survey, file.shown)
    data = Hdf5Data([file], [store], in_one_image(naming))
    return Hdf5Checkpoint(format, found, [file], data, Contents(naming, survey.soft_links))


def in_one_image(naming: Naming) -> dict[str, Place]:
    """The places of variables whose keys are the paths of datasets of one image."""
    return {variable.key: Place(0, variable.key) for variable in naming.variables}


def survey_image(
    fd: int, shown: str, base: int, length: int, begun: Hdf5Image | None = None
) -> tuple[Hdf5Store, Survey]:
    """What an HDF5 image holds, and the store to reach it; the worker lives on only if reading needs it.

    `begun` is the image where it is open already.
    """
    image = begun or Hdf5Image(fd, base, length, shown)
    try:
        survey = image.survey()
    except BaseException:
        image.close()
        raise
    datasets = {dataset.path: dataset for dataset in survey.datasets}
    return _served(image, Hdf5Store(fd, shown, datasets, base=base, length=length, digest=image.digest)), survey


def same_image(fd: int, shown: str, base: int, length: int, known: Hdf5Store) -> Hdf5Store | None:
    """The store of an image that holds the same datasets in the same places as `known`; None if it does not."""
    image = Hdf5Image(fd, base, length, shown)
    try:
        same = known.digest is not None and image.is_as(known.digest)
    except BaseException:
        image.close()
        raise
    if not same:
        image.close()
        return None
    return _served(image, Hdf5Store(fd, shown, known.datasets, base=base, length=length, digest=known.digest))


def _served(image: Hdf5Image, store: Hdf5Store) -> Hdf5Store:
    """The store, with the image if reading needs its worker; else the image is closed."""
    if any(dataset.offset is None and dataset.dtype in FLOATS for dataset in store.datasets.values()):
        store.image = image
    else:
        image.close()
    return store


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
    roots = roots_of_models(survey)
    if roots:
        from renorm_cli.formats.keras import legacy_groups

        return "hdf5", legacy_groups.name_variables(survey, roots, shown)
    return "hdf5", name_plainly(survey)


def roots_of_models(survey: Survey) -> dict[str, str]:
    """The groups that hold Keras' legacy layout: path of a model -> of its weights, which can lie in `model_weights`.

    A model in another one's group is part of that.
    """
    found: dict[str, str] = {}
    for path in sorted(survey.layer_names):
        model = path.removesuffix("/model_weights")
        if model and not is_inside(model, found):
            found.setdefault(model, path)
    return found


def is_v3(survey: Survey) -> bool:
    """Keras v3 weights: some group is named `vars`."""
    return any(group.rpartition("/")[2] == "vars" for group in survey.groups)


def _link_notes(links: Mapping[str, str]) -> list[Note]:
    notes = [Note(f"soft link {path!r} to {target!r}: left alone") for path, target in sorted(links.items())]
    more = len(notes) - _LINKS_LISTED
    return [*notes[:_LINKS_LISTED], Note(f"and {more} more soft links")] if more > 0 else notes
