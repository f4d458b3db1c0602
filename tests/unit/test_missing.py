"""A path where nothing is: the closest is named, and a URL is said to be one."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from renorm_cli.missing import closest, no_such_file, url_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("model.h5", "notes", "runs/epoch-1.keras", "runs/epoch-2.keras"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("modle.h5", "no such file; closest: 'model.h5'"),
        ("MODEL.H5", "no such file; closest: 'model.h5'"),
        ("unlike", "no such file"),
        ("runs/epoch-1.kears", "no such file; closest: 'runs/epoch-1.keras', 'runs/epoch-2.keras'"),
        ("run/epoch-1.keras", "no such file, as 'run' is not there; closest: 'runs'"),
        ("a/b/c.h5", "no such file, as 'a' is not there"),
        ("https://example.org/m.h5", "a URL, and files of this machine are expected; download it first"),
        ("s3://bucket/m.h5", "a URL, and files of this machine are expected; download it first"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_the_closest_that_is_there_is_named(path: str, said: str) -> None:
    assert no_such_file(Path(path)) == said


@pytest.mark.parametrize(("length", "number"), [(10, 9000), (200, 5000), (1000, 5000), (50_000_000, 2)])
def test_names_are_compared_only_as_far_as_that_takes_seconds(
    length: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that difflib takes grows with the product of the lengths."""
    took: list[int] = []

    def compared(name: str, among: list[str], **how: float) -> list[str]:
        took.append(len(name) * sum(map(len, among)))
        return among[:1]

    monkeypatch.setattr(difflib, "get_close_matches", compared)
    found = closest("n" * min(length, 1000), ["n" * length] * number, 0.6)
    assert took[0] <= 20_000_000
    assert bool(found) == (length <= 1000)


def test_a_link_that_leads_nowhere_is_not_its_own_closest(folder: Path) -> None:
    (folder / "lost.h5").symlink_to("gone")
    assert no_such_file(folder / "lost.h5") == "no such file"


def test_a_folder_of_very_many_names_is_not_read_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renorm_cli.missing._MOST_ENTRIES", 0)
    assert no_such_file(folder / "modle.h5") == "no such file"


def test_a_url_is_told_as_it_was_given() -> None:
    assert url_of(Path("gs://bucket/m.h5")) == "gs://bucket/m.h5"
    assert url_of(Path("a/b:/c")) is None
