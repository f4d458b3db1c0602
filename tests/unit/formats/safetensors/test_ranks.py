"""Files that one of several processes wrote hold parts of weights, and nothing is said of these."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.files import look
from support.tensor_files import write_safetensors

from renorm_cli.errors import FormatError

ONE, OTHER = (f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2))


def write(path: Path, offsets: object, name: str = "a.weight") -> Path:
    """As torch 2.14 writes them: the text of the metadata was read from files of its own."""
    told = offsets if isinstance(offsets, str) else json.dumps({name: {"saved_offsets": offsets}})
    metadata = {"DCP_SHARDING_INFO": told, "DCP_VERSION": "1.0", "format": "pt"}
    write_safetensors(path, {name: np.ones((4, 3), np.float32)}, metadata)
    return path


def test_parts_that_begin_inside_their_weights_are_refused_under_any_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"parts of weights.*enable_consolidation=True"):
        look(write(tmp_path / "m.safetensors", [0, 3]))


def test_the_parts_of_the_first_process_are_told_by_the_files_of_others(tmp_path: Path) -> None:
    path = write(tmp_path / ONE, [0, 0])
    write(tmp_path / ONE.replace("model-00001", "model-00002"), [0, 0])
    with pytest.raises(FormatError, match="may hold parts of weights"):
        look(path)
    other = write(tmp_path / OTHER, [0, 0], "b.weight")
    assert len(look(path).rows) == len(look(other).rows) == 1
    write(other, [0, 3])
    with pytest.raises(FormatError, match="holds parts of weights"):
        look(path)


def test_an_index_that_names_parts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / OTHER, [0, 3])
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": write(tmp_path / ONE, [0, 0]).name}}))
    with pytest.raises(FormatError, match="holds parts of weights"):
        look(index)


def test_a_file_without_a_rank_in_its_name_is_read(tmp_path: Path) -> None:
    write(tmp_path / ONE, [0, 0])
    assert len(look(write(tmp_path / "m.safetensors", [0, 0])).rows) == 1


@pytest.mark.parametrize("told", ["{", "[]", '{"a.weight": 1}', '{"a.weight": {"saved_offsets": [true]}}'])
def test_offsets_that_cannot_be_read_are_an_error(told: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="DCP_SHARDING_INFO in its header"):
        look(write(tmp_path / "m.safetensors", told))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
@pytest.mark.parametrize("several", [False, True])
def test_what_torch_writes_whole_is_read(several: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    checkpoint = pytest.importorskip("torch.distributed.checkpoint")
    writer = checkpoint.HuggingFaceStorageWriter(path=str(tmp_path), save_distributed=several)
    checkpoint.save({"a.weight": torch.ones(4, 9)}, storage_writer=writer, no_dist=True)
    write(tmp_path / OTHER, [0, 0], "b.weight")
    (row,) = look(tmp_path / (ONE if several else "model.safetensors.index.json")).rows
    assert row.norm is not None
    assert row.norm.max == 3
