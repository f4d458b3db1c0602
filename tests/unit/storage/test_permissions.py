"""What is made of a private checkpoint is private: an output or a report has no reader whom the input has not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import small_checkpoints as small
from support.cli import renorm_here

from renorm_cli.model.readers import Readers
from renorm_cli.storage.permissions import Permissions


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    mask = os.umask(0o022)
    yield
    os.umask(mask)


def shut(source: Path, mode: int) -> None:
    """Give all files of a checkpoint this mode; to a folder that is one, and to nothing in it, what lets it through."""
    if source.is_dir():
        source.chmod(mode | (mode & 0o444) >> 2)
    else:
        for path in source.parent.iterdir():
            path.chmod(mode)


def readable(folder: Path) -> dict[str, str]:
    """Who may read each file or folder: "g" the group, "o" others; in a folder that is shut, nobody may."""
    return {
        path.name: "".join(who for who, bit in (("g", stat.S_IRGRP), ("o", stat.S_IROTH)) if path.stat().st_mode & bit)
        for path in folder.iterdir()
    }


MODES = {0o600: "", 0o640: "g", 0o444: "go"}
"""Modes of an input, and who else may read what is made of it."""


def every_mode() -> Iterator[object]:
    """Of every format; in the loop, one mode for each format and all of them for one."""
    for kind in small.FORMATS:
        for mode, who in MODES.items():
            alike = mode != 0o600 and kind != "keras zip"
            yield pytest.param(kind, mode, who, marks=[pytest.mark.slow] if alike else [])


@pytest.mark.parametrize(("kind", "mode", "who"), [*every_mode()])
def test_output_and_report_are_for_those_who_may_read_the_input(
    kind: str, mode: int, who: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source = small.FORMATS[kind](tmp_path / "in")
    shut(source, mode)
    output = tmp_path / "out" / ("m" if source.name == "m.ckpt" else source.name)
    done = renorm_here(capfd, "apply", str(source), "--max-norm", "1", "-q", "-o", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    found = readable(tmp_path / "out")
    assert len(found) > 1
    assert set(found.values()) == {who}


def test_every_file_of_a_command_is_for_those_who_may_read_all_its_inputs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open", "private", "out"):
        (tmp_path / name).mkdir()
    make = small.HDF5["plain hdf5"]
    make(tmp_path / "open")
    make(tmp_path / "private").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    one, two = "open/m.hdf5", "private/m.hdf5"
    for command in (
        ("inspect", one, two, "--report", "out/i.csv"),
        ("inspect", two, "--norms", "out/n.npz"),
        ("check", two, one, "--max-norm", "9", "--report", "out/c.xml"),
        ("diff", one, two, "--report", "out/d.csv"),
        ("diff", two, one, "--report", "out/d.json"),
        ("suggest", two, "-o", "out/r.toml"),
        ("apply", two, "--max-norm", "1", "--dry-run", "--report", "out/a.md"),
    ):
        assert renorm_here(capfd, *command, "-q").returncode == 0
    assert set(readable(Path("out")).values()) == {""}
    assert renorm_here(capfd, "inspect", one, "--report", "out/open.csv", "-q").returncode == 0
    assert readable(Path("out"))["open.csv"] == "go"


def test_a_group_that_may_read_the_input_is_no_other_group() -> None:
    ours = Readers(False, 7)
    assert ours.narrowed(0o664, 7) == 0o660
    assert ours.narrowed(0o664, 8) == Readers(False).narrowed(0o664, 7) == 0o600
    assert ours.of_both(Readers(False, 8)) == Readers(False)
    assert ours.of_both(Readers()) == Readers().of_both(ours) == ours.of_both(ours) == ours


@pytest.mark.parametrize(("group", "mode"), [(0, 0o640), (1, 0o600)], ids=["kept", "another"])
def test_a_replaced_file_whose_group_cannot_be_kept_is_for_no_group(
    group: int, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*change: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refused)
    with (tmp_path / "file").open("w") as file:
        made = os.fstat(file.fileno())
        Permissions(0o640, made.st_uid + 1, made.st_gid + group).give(file.fileno())
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
