"""Mutants of files, configs, archives and shard maps: a result or a RenormError, in 5 s."""

from __future__ import annotations

import sys

import pytest

from fuzz import folders, seeds
from fuzz.campaign import Finds, hunt, mutants
from fuzz.foreign import FOREIGN, OpenTarget
from fuzz.mutate import HDF5_TOKENS, JSON_TOKENS, ZIP_TOKENS, Kind, edit_hdf5, edit_json, edit_zip_fields, new_zip
from fuzz.targets import ApplyTarget, ConfigTarget, Hdf5Target, MapTarget, ZipTarget, survey_bytes

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]

MUTANTS = mutants(2000)


def told(finds: Finds) -> str:
    lines = [f"{finds.run} mutants, {finds.accepted} accepted, slowest {finds.slowest:.2f} s"]
    return "\n\n".join(lines + [f"{finds.count[kind]} x {kind}\n{text}" for kind, text in finds.what.items()])


def check(finds: Finds) -> None:
    print(f"{finds.run} mutants: {finds.accepted} read, {finds.refused} refused, slowest {finds.slowest:.2f} s")  # noqa: T201
    assert not finds.what, told(finds)
    assert finds.refused > finds.run // 20, "mutants that nobody refuses test little"


@pytest.mark.skipif(sys.platform != "linux", reason="a file in shared memory is used")
def test_a_mutant_hdf5_file_is_read_or_refused() -> None:
    target = Hdf5Target()
    try:
        check(hunt(Kind(seeds.hdf5_seeds(), HDF5_TOKENS, (edit_hdf5,)), target, 0, MUTANTS))
    finally:
        print(f"{target.deaths} times the worker died or was stopped; {target.accepted} opened")  # noqa: T201
        target.close()


def test_a_mutant_config_names_every_weight_or_is_refused() -> None:
    surveys = {name: survey_bytes(data) for name, data in seeds.hdf5_seeds().items() if "outer" not in name}
    check(hunt(Kind(seeds.config_seeds(), JSON_TOKENS, (edit_json,)), ConfigTarget(surveys), 0, MUTANTS))


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are used")
def test_a_mutant_zip_is_read_as_zipfile_reads_it_or_refused() -> None:
    target = ZipTarget()
    try:
        check(
            hunt(Kind(seeds.zip_seeds(), ZIP_TOKENS, (edit_zip_fields, edit_zip_fields, new_zip)), target, 0, MUTANTS)
        )
    finally:
        target.close()


def test_a_mutant_shard_map_names_plain_files_or_is_refused() -> None:
    check(hunt(Kind(seeds.map_seeds(), JSON_TOKENS, (edit_json,)), MapTarget(), 0, MUTANTS))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_mutant_of_another_framework_is_read_or_refused(name: str) -> None:
    kind, format = FOREIGN[name]
    check(hunt(kind, OpenTarget(format), 0, MUTANTS))


@pytest.mark.parametrize("name", folders.FOLDERS)
def test_a_folder_of_which_one_file_is_a_mutant_is_read_or_refused(name: str) -> None:
    """A child process reads Orbax, twenty a second; one that dies or hangs is one line too."""
    target = folders.target(name)
    try:
        check(hunt(target.kind, target, 0, MUTANTS))
    finally:
        target.close()


@pytest.mark.parametrize("kind", ["hdf5", "zip"])
def test_apply_on_a_mutant_writes_a_whole_output_or_none(kind: str) -> None:
    """The whole tool takes a hundred times as long as a parser: a twentieth of the mutants."""
    kinds = {
        "hdf5": Kind(seeds.hdf5_seeds(), HDF5_TOKENS, (edit_hdf5,)),
        "zip": Kind(seeds.zip_seeds(), ZIP_TOKENS, (edit_zip_fields,)),
    }
    target = ApplyTarget()
    try:
        check(hunt(kinds[kind], target, 1 << 32, max(100, MUTANTS // 20)))
    finally:
        target.close()


def test_a_target_that_crashes_hangs_or_says_too_much_is_found() -> None:
    def bad(data: bytes, number: int) -> None:
        raise KeyError("a bug")

    finds = hunt(Kind({"seed": b"0123456789"}), bad, 0, 10)
    assert [*finds.count.values()] == [10]
    assert "KeyError" in next(iter(finds.what))


def test_a_mutant_is_the_same_bytes_every_time() -> None:
    kind = Kind(seeds.map_seeds(), JSON_TOKENS, (edit_json,))
    assert [kind.mutant(number) for number in range(50)] == [kind.mutant(number) for number in range(50)]
    assert len({kind.mutant(number)[1] for number in range(50)}) > 40
