"""A few mutants of every parser in each run; tests/fuzz has the many."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.effort import examples

from fuzz import folders, seeds
from fuzz.folders import FolderTarget
from fuzz.foreign import FOREIGN, OpenTarget
from fuzz.mutate import HDF5_TOKENS, JSON_TOKENS, ZIP_TOKENS, Kind, edit_hdf5, edit_json, edit_zip_fields, new_zip
from fuzz.targets import ConfigTarget, Hdf5Target, MapTarget, ZipTarget, survey_bytes
from renorm_cli.errors import RenormError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files in memory are used")

few = settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
numbers = st.integers(1, 1 << 40)

HDF5 = Kind(seeds.hdf5_seeds(), HDF5_TOKENS, (edit_hdf5,))
CONFIG = Kind(seeds.config_seeds(), JSON_TOKENS, (edit_json,))
ZIP = Kind(seeds.zip_seeds(), ZIP_TOKENS, (edit_zip_fields, new_zip))
MAP = Kind(seeds.map_seeds(), JSON_TOKENS, (edit_json,))


@pytest.fixture(scope="module")
def hdf5() -> Iterator[Hdf5Target]:
    target = Hdf5Target()
    yield target
    target.close()


@pytest.fixture(scope="module")
def zipped() -> Iterator[ZipTarget]:
    target = ZipTarget()
    yield target
    target.close()


@pytest.fixture(scope="module")
def config() -> ConfigTarget:
    return ConfigTarget({name: survey_bytes(data) for name, data in HDF5.seeds.items() if "outer" not in name})


@few
@given(number=numbers)
def test_a_mutant_hdf5_file_is_read_or_refused(hdf5: Hdf5Target, number: int) -> None:
    with suppress(RenormError):
        hdf5(HDF5.mutant(number)[1], number)


@few
@given(number=numbers)
def test_a_mutant_config_names_every_weight_or_is_refused(config: ConfigTarget, number: int) -> None:
    with suppress(RenormError):
        config(CONFIG.mutant(number)[1], number)


@few
@given(number=numbers)
def test_a_mutant_zip_is_read_as_zipfile_reads_it_or_refused(zipped: ZipTarget, number: int) -> None:
    with suppress(RenormError):
        zipped(ZIP.mutant(number)[1], number)


@few
@given(number=numbers)
def test_a_mutant_shard_map_names_plain_files_or_is_refused(number: int) -> None:
    with suppress(RenormError):
        MapTarget()(MAP.mutant(number)[1], number)


@pytest.mark.parametrize("name", FOREIGN)
@few
@given(number=numbers)
def test_a_mutant_of_another_framework_is_read_or_refused(name: str, number: int) -> None:
    kind, format = FOREIGN[name]
    with suppress(RenormError):
        OpenTarget(format)(kind.mutant(number)[1], number)


@pytest.mark.parametrize("name", FOREIGN)
def test_every_sound_file_of_another_framework_is_read(name: str) -> None:
    kind, format = FOREIGN[name]
    for data in kind.seeds.values():
        OpenTarget(format)(data, 1)


@pytest.fixture(scope="module", params=["torch distributed", pytest.param("orbax", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest) -> Iterator[FolderTarget]:
    target = folders.target(request.param)
    yield target
    target.close()


@settings(few, max_examples=examples(60))
@given(number=numbers)
def test_a_folder_of_which_one_file_is_a_mutant_is_read_or_refused(folder: FolderTarget, number: int) -> None:
    with suppress(RenormError):
        folder(folder.kind.mutant(number)[1], number)


def test_every_sound_folder_is_read(folder: FolderTarget) -> None:
    one_of_each = {name.partition(":")[0]: number for number, name in enumerate(folder.kind.names)}
    for number in one_of_each.values():
        folder(folder.kind.seeds[folder.kind.names[number]], number)


def test_every_sound_seed_is_read(hdf5: Hdf5Target, zipped: ZipTarget, config: ConfigTarget) -> None:
    for name, data in HDF5.seeds.items():
        if "outer" not in name:
            hdf5(data, 1)
            hdf5(data, 50)
    for data in ZIP.seeds.values():
        zipped(data, 1)
    for data in MAP.seeds.values():
        MapTarget()(data, 1)
    for data in CONFIG.seeds.values():
        with suppress(RenormError):
            config(data, 1)
