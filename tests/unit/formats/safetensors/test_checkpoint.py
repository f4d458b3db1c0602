"""Safetensors files and indexes of them: what is told of each, and what the libraries read of an output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, tensor_files
from support.files import agrees, bound, look

from renorm_cli.api.verbs import diff
from renorm_cli.errors import FormatError
from renorm_cli.formats.registry import open_checkpoint

ARRAYS = tensor_files.torch_arrays()


def test_the_library_reads_an_output_as_the_oracle_makes_it(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path, out = tmp_path / "m.safetensors", tmp_path / "out.safetensors"
    arrays = {name: array for name, array in ARRAYS.items() if name != "scale"}
    numpy.save_file(arrays, path, metadata={"format": "pt"})
    bound(path, out)
    after = numpy.load_file(out)
    assert after.keys() == arrays.keys()
    for name, array in arrays.items():
        if name in tensor_files.TORCH_KERNELS:
            agrees(array, after[name], tensor_files.TORCH_KERNELS[name], 1.0)
        else:
            assert after[name].tobytes() == array.tobytes()


@pytest.mark.slow
def test_torch_reads_an_output_of_its_own_model_and_its_ties_as_the_oracle_makes_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"emb": torch.nn.Embedding(7, 5), "lm_head": torch.nn.Linear(5, 7, bias=False)})
    model["lm_head"].weight = model["emb"].weight
    path, out = tmp_path / "m.safetensors", tmp_path / "out.safetensors"
    library.save_model(model, path)
    (row,) = look(path).rows
    assert {row.step.variable.name, *row.step.variable.aliases} == {"emb.weight", "lm_head.weight"}
    before = model["emb"].weight.detach().numpy().copy()
    bound(path, out)
    library.load_model(model, out)
    agrees(before, model["lm_head"].weight.detach().numpy(), (0,), 1.0)
    assert model["emb"].weight is model["lm_head"].weight


@pytest.mark.parametrize(
    ("metadata", "names", "axes"),
    [
        ({"format": "pt"}, ("a.weight",), (0,)),
        ({"format": "mlx"}, ("a.weight",), (0,)),
        ({"format": "flax"}, ("a.kernel",), (1,)),
        ({"format": "tf"}, ("model/dense/kernel:0",), (1,)),
        ({}, ("a.weight",), (0,)),
        ({"format": "np"}, ("a.kernel", "a.bias"), (1,)),
        (None, ("params/Dense_0/kernel",), (1,)),
        (None, ("dense/kernel",), (1,)),
    ],
)
def test_metadata_or_names_tell_the_framework_and_with_it_the_unit_axes(
    metadata: dict[str, str] | None, names: tuple[str, ...], axes: tuple[int, ...], tmp_path: Path
) -> None:
    arrays = {name: np.ones((6, 4) if len(name) > 6 else (4,), np.float32) for name in names}
    tensor_files.write_safetensors(tmp_path / "m", arrays, metadata)
    (row,) = look(tmp_path / "m").rows
    assert (row.step.unit_axes, row.step.axis_source) in ((axes, "name"), (axes, "shape"))


def test_a_header_of_any_length_is_read_and_tensors_need_no_alignment(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4").reshape(3, 2)
    header = {
        "one": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "a.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [1, 25]},
    }
    for size in range(130, 140):
        (tmp_path / "m").write_bytes(tensor_files.safetensors(header, b"x" + values.tobytes(), size))
        with open_checkpoint(tmp_path / "m") as source:
            found = {variable.name: source.read(variable) for variable in source.variables}
        np.testing.assert_array_equal(found["a.weight"], values)


def test_a_direction_of_weight_normalization_is_locked_and_its_norms_are_bounded(tmp_path: Path) -> None:
    direction = builders.kernel((4, 3, 2), (0,))
    arrays = {"c.weight_v": direction, "c.weight_g": np.full((4, 1, 1), 2, "f4"), "c.bias": np.zeros(4, "f4")}
    tensor_files.write_safetensors(tmp_path / "m", arrays)
    (row,) = bound(tmp_path / "m", tmp_path / "out").rows
    assert (row.step.variable.name, row.over) == ("c.weight_g", 4)
    after = tensor_files.read_safetensors(tmp_path / "out")
    assert after["c.weight_v"].tobytes() == direction.tobytes()
    np.testing.assert_array_equal(after["c.weight_g"], np.ones((4, 1, 1)))
    with pytest.raises(FormatError, match=r"divides it by its norm, weight_g has"):
        bound(tmp_path / "m", tmp_path / "other", "c.weight_v")


def test_a_locked_direction_that_kept_its_bytes_is_identical_and_another_one_has_changed(tmp_path: Path) -> None:
    direction = builders.kernel((4, 3, 2), (0,))
    arrays = {"c.weight_v": direction, "c.weight_g": np.full((4, 1, 1), 2, "f4"), "c.bias": np.zeros(4, "f4")}
    tensor_files.write_safetensors(tmp_path / "m", arrays)
    bound(tmp_path / "m", tmp_path / "out")
    tensor_files.write_safetensors(tmp_path / "other", arrays | {"c.weight_v": direction * 2})
    found = diff(tmp_path / "m", tmp_path / "out", expect_renorm=True, max_norm=1.0)
    verdicts = {row.name: row.verdict for row in found.rows}
    assert verdicts == {"c.weight_v": "identical", "c.weight_g": "pure renorm", "c.bias": "identical"}
    found = diff(tmp_path / "m", tmp_path / "other")
    verdicts = {row.name: row.verdict for row in found.rows}
    assert verdicts == {"c.weight_v": "other", "c.weight_g": "identical", "c.bias": "identical"}


def test_a_warning_says_that_an_update_is_added_to_a_weight(tmp_path: Path) -> None:
    arrays = {"q.base_layer.weight": np.ones((4, 3), "f4"), "q.lora_A.weight": np.ones((1, 3), "f4")}
    tensor_files.write_safetensors(tmp_path / "m", arrays)
    assert any("LoRA update beside it" in note.text and note.warning for note in look(tmp_path / "m").notes)


# --- indexes


def _sharded(folder: Path, name: str = "model.safetensors.index.json") -> Path:
    return tensor_files.write_index(folder / name, tensor_files.halves(ARRAYS))


def test_the_shards_of_an_output_have_names_of_their_own_and_the_index_tells_them(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    bound(path, None)
    out = tmp_path / "model-renorm.safetensors.index.json"
    index = json.loads(out.read_text())
    assert sorted({*index["weight_map"].values()}) == [
        f"model-renorm-0000{number}-of-00002.safetensors" for number in (1, 2)
    ]
    assert index["metadata"] == json.loads(path.read_text())["metadata"]
    assert tensor_files.read_safetensors(out).keys() == ARRAYS.keys()


@pytest.mark.parametrize("ascii_only", [True, False])
def test_names_of_shards_change_in_the_map_alone_however_they_are_written_and_counted(
    tmp_path: Path, ascii_only: bool
) -> None:
    first, key, third = "é.safetensors", "m-00000-of-00003.safetensors", "m-00001-of-00003.safetensors"
    for shard, name in ((first, "a"), (key, key), (third, "c")):  # a weight has the name of a file
        tensor_files.write_safetensors(tmp_path / shard, {name: ARRAYS["embed.weight"]})
    index = {"metadata": {"first": key}, "weight_map": {"a": first, key: key, "c": third}}
    (tmp_path / "x.json").write_text(json.dumps(index, ensure_ascii=ascii_only), "utf-8")
    (tmp_path / "out").mkdir()
    bound(tmp_path / "x.json", tmp_path / "out" / "m.json", units=["*=0"])
    made = {name: f"m-0000{number}-of-00003.safetensors" for number, name in enumerate((key, "c", "a"), 1)}
    assert json.loads((tmp_path / "out" / "m.json").read_text()) == {"metadata": {"first": key}, "weight_map": made}


def test_an_index_that_keeps_its_name_keeps_those_of_its_shards(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    (tmp_path / "out").mkdir()
    bound(path, tmp_path / "out" / path.name)
    names = {one.name for one in tmp_path.iterdir() if one.is_file()}
    assert {one.name for one in (tmp_path / "out").iterdir()} - {"model.report.json"} == names


def test_names_come_from_the_shards_whatever_the_map_says(tmp_path: Path) -> None:
    """As transformers reads them: the map only says which files there are."""
    path = _sharded(tmp_path)
    index = json.loads(path.read_text())
    first, second = sorted({*index["weight_map"].values()})
    path.write_text(json.dumps({"weight_map": {"no such": second, "embed.weight": first}}))
    with open_checkpoint(path) as source:
        assert {variable.name for variable in source.variables} == ARRAYS.keys()


def test_a_shard_leads_to_its_index_and_one_without_an_index_is_read_alone(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    shard = tmp_path / "model-00001-of-00002.safetensors"
    with pytest.raises(FormatError, match=r"is a part of the checkpoint .*index.json'; give that"):
        look(shard)
    path.unlink()
    assert look(shard).format == "safetensors"


def test_what_has_a_tensor_of_its_own_is_no_alias_whatever_the_metadata_say(tmp_path: Path) -> None:
    header: dict[str, Any] = {"__metadata__": {"b.weight": "a.weight", "c.weight": "a.weight"}}
    for number, name in enumerate(("a.weight", "b.weight")):
        header[name] = tensor_files.ENTRY | {"shape": [2, 1], "data_offsets": [8 * number, 8 * number + 8]}
    (tmp_path / "m.safetensors").write_bytes(tensor_files.safetensors(header, bytes(16)))
    found = {row.step.variable.name: row.step.variable.aliases for row in look(tmp_path / "m.safetensors").rows}
    assert found == {"a.weight": ("c.weight",), "b.weight": ()}


def test_metadata_that_differ_are_a_difference(tmp_path: Path) -> None:
    for name in ("one", "other"):
        tensor_files.write_safetensors(tmp_path / name, ARRAYS, {"format": "pt", "made": name})
    found = diff(tmp_path / "one", tmp_path / "other", expect_renorm=True, max_norm=9.0)
    assert not found.proven
    assert "__metadata__" in str(found.to_dict())
