"""What leads to a checkpoint of Orbax: folders of steps, steps, and folders of arrays."""

from __future__ import annotations

from pathlib import Path

import pytest

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.location import Location
from renorm_cli.formats.registry import find, locate


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


def step(folder: Path, name: str) -> Path:
    return put(folder / name, "_CHECKPOINT_METADATA", "default/_METADATA")


@pytest.mark.parametrize(
    ("steps", "newest"),
    [
        (("9", "10"), "10"),
        (("step_0009", "step_0010"), "step_0010"),
        (("1", "2.orbax-checkpoint-tmp-7", "logs", "best"), "1"),
    ],
)
def test_a_folder_of_steps_leads_to_the_one_of_the_highest_number(
    steps: tuple[str, ...], newest: str, tmp_path: Path
) -> None:
    for name in steps:
        step(tmp_path, name)
    (tmp_path / "99").mkdir()  # holds nothing
    location = locate(tmp_path)
    assert getattr(location, "step", None) == newest
    assert location.index == tmp_path


@pytest.mark.parametrize(
    ("file", "whole"),
    [("3/_CHECKPOINT_METADATA", "3"), ("3/default/_METADATA", "3/default"), ("3/default/manifest.ocdbt", "3/default")],
)
def test_a_file_that_stands_for_its_folder_leads_to_it(file: str, whole: str, tmp_path: Path) -> None:
    step(tmp_path, "3")
    put(tmp_path, "3/default/manifest.ocdbt")
    assert find(tmp_path / file).path == tmp_path / whole


@pytest.mark.parametrize("file", ["d/0123", "ocdbt.process_0/manifest.ocdbt", "ocdbt.process_0/d/0123", "_sharding"])
def test_another_file_of_a_checkpoint_names_the_whole(file: str, tmp_path: Path) -> None:
    step(tmp_path, "3")
    put(tmp_path / "3" / "default", "manifest.ocdbt", file)
    with pytest.raises(FormatError, match=f"is a part of the checkpoint '{tmp_path}/3'"):
        find(tmp_path / "3" / "default" / file)


def test_a_step_of_older_versions_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    put(tmp_path / "7", "default/manifest.ocdbt")
    assert getattr(locate(tmp_path), "step", None) == "7"
    assert locate(tmp_path / "7").path == tmp_path / "7"


def test_a_step_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="was not finished"):
        locate(step(tmp_path, "2.orbax-checkpoint-tmp-7"))


def test_a_folder_that_holds_checkpoints_of_other_names_is_none(tmp_path: Path) -> None:
    step(tmp_path, "best")
    with pytest.raises(FormatError, match="it holds 'best'; give that"):
        locate(tmp_path)


def test_in_place_replaces_the_step_alone_and_another_output_is_a_folder_of_that_step(tmp_path: Path) -> None:
    for name in ("1", "2"):
        step(tmp_path / "run", name)
    location = locate(tmp_path / "run")
    assert location.resolved().path == tmp_path / "run" / "2"
    output = location.default_output()
    assert (output.path, getattr(output, "step", None)) == (tmp_path / "run-renorm", "2")


@pytest.mark.parametrize(
    ("there", "fine"),
    [
        ((), True),
        (("2/_METADATA",), True),
        (("_METADATA",), True),
        (("1/_METADATA", "2/_METADATA"), False),
        (("a",), False),
    ],
)
def test_an_output_replaces_one_step_and_never_several_or_other_things(
    there: tuple[str, ...], fine: bool, tmp_path: Path
) -> None:
    source = locate(put(tmp_path / "in", "_METADATA"))
    (tmp_path / "out").mkdir()
    output: Location = source.output(put(tmp_path / "out", *there))
    if fine:
        source.check_output(output)
    else:
        with pytest.raises(OutputError, match="other things than one step"):
            source.check_output(output)
    with pytest.raises(OutputError, match="lies in the input"):
        source.check_output(source.output(tmp_path / "in" / "x"))
