"""A file to be made, and around every test the proof that nothing of it is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import children

from renorm_cli.formats.hdf5 import worker as hdf5_worker


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Around every test: no child process and no open descriptor is left."""
    before = descriptors(), children()
    yield
    assert (descriptors(), children()) == before


def descriptors() -> set[int]:
    numbers = {int(entry.name) for entry in Path("/dev/fd").iterdir()}
    return {number for number in numbers if Path(f"/dev/fd/{number}").exists()}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "f.h5"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_worker, "PATIENCE", 1.0)
