"""A format that is a header parser and a line in the registry keeps the whole contract, and needs no local file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contracts.checkpoint import CheckpointContract, equal
from support import builders
from support.files import look
from support.found import file_at
from support.memory_file import MemoryFile
from support.trial import TrialFormat, read_trial, write_trial

from renorm_cli.errors import FormatError
from renorm_cli.formats import registry
from renorm_cli.model.blocks import partition

ARRAYS = {
    "dense/kernel": builders.kernel((12, 6)),
    "dense/bias": np.full(6, 9.0, np.float32),
    "half/kernel": builders.kernel((5, 4)).astype(np.float16),
    "step": np.array(7, np.int64),
    "none/kernel": np.zeros((0, 4), np.float32),
}

KERNELS = {"dense/kernel": (1,), "half/kernel": (1,)}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FORMATS", (TrialFormat(), *registry.FORMATS))


class TestTrial(CheckpointContract):
    format, name = "trial", "m.trial"
    kernels = KERNELS

    def make(self, folder: Path) -> Path:
        write_trial(folder / "m.trial", ARRAYS)
        return folder / "m.trial"

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        return read_trial(path)


def test_its_ending_is_kept_in_names_of_outputs_and_told_among_what_is_read(tmp_path: Path) -> None:
    write_trial(tmp_path / "m.trial", ARRAYS)
    location = registry.locate(tmp_path / "m.trial")
    assert location.default_output().name == "m-renorm.trial"
    assert location.report().name == "m.trial.report.json"
    (tmp_path / "other").write_bytes(b"no format at all")
    with pytest.raises(FormatError, match=r"is no checkpoint of a known format; \.trial, .* and \.[a-z0-9.]+ are read"):
        look(tmp_path / "other")


def test_it_is_read_from_bytes_that_no_descriptor_reaches(tmp_path: Path) -> None:
    path = tmp_path / "m.trial"
    write_trial(path, ARRAYS)
    file = MemoryFile(Path("far away"), path.read_bytes())
    path.unlink()
    with TrialFormat().open(file_at(file.path, file)) as source:
        for variable in source.variables:
            for block in partition(variable.shape, 5):
                assert equal(source.read(variable, block), ARRAYS[variable.key][block.box])
        source.check_unchanged()
        with pytest.raises(FormatError, match="no descriptor"):
            source.files[0].descriptor()
        file.content += b"!"
        with pytest.raises(FormatError, match="changed while it was read"):
            source.check_unchanged()


def test_no_format_is_registered_by_these_tests_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not any(isinstance(format, TrialFormat) for format in registry.FORMATS)
