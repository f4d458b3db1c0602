"""Archives of Keras whose weights are not those that the headers state, as zipfile finds them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import builders

import renorm_cli


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights_of_another_checksum_than_the_headers_state_are_damage(tmp_path: Path, method: int) -> None:
    path = tmp_path / "model.keras"
    weights = {"dense": {"kernel": np.ones((4, 3), "f4"), "bias": np.zeros(3, "f4")}}
    builders.write_keras(path, builders.dense_config(weights), builders.v3_layers(weights))
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        wrong = archive.getinfo("model.weights.h5").CRC ^ 1
    state = archive.getinfo("model.weights.h5").CRC.to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(state) == 2
    path.write_bytes(content.replace(state, wrong.to_bytes(4, "little")))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() == "model.weights.h5"
    for judge in (renorm_cli.check, renorm_cli.apply):
        with pytest.raises(renorm_cli.FormatError, match=r"model\.weights\.h5"):
            judge(path, max_norm=3.0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]
