"""Quantized tensors of GGUF: what is measured of them is what gguf dequantizes, and nothing of them is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import gguf_files
from support.files import bound, look

from renorm_cli.api.verbs import diff
from renorm_cli.errors import FormatError
from renorm_cli.formats.gguf import blocks, checkpoint
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.model.blocks import Block, partition

gguf = pytest.importorskip("gguf")

SHAPE = (5, 768)
TYPES = [kind for kind in gguf.GGMLQuantizationType if gguf.GGML_QUANT_SIZES[kind][0] > 1]
Q8_1 = gguf.GGMLQuantizationType.Q8_1


def dequantizes(kind: Any) -> bool:
    size = gguf.GGML_QUANT_SIZES[kind][1]
    try:
        gguf.dequantize(np.zeros((1, size), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


KNOWN = [kind for kind in TYPES if dequantizes(kind)]


def random_tensor(kind: Any, seed: int = 3) -> gguf_files.Info:
    """Random bytes, whose scales are NaN or Inf here and there."""
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    content = np.random.default_rng((seed, kind.value)).integers(0, 256, SHAPE[0] * SHAPE[1] // numbers * size, "u1")
    return f"blk.{kind.value}.ffn_up.weight", SHAPE, kind.value, content.tobytes()


NORM = gguf_files.infos({"output_norm.weight": np.ones(4, "<f4")})


def write(path: Path, kinds: list[Any], order: str = "<") -> Path:
    path.write_bytes(gguf_files.gguf([*map(random_tensor, kinds), *NORM], order=order))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "m.gguf", KNOWN)


def whole(path: Path) -> dict[str, np.ndarray]:
    """Every tensor as gguf reads and dequantizes it."""
    with np.errstate(all="ignore"):
        return {
            tensor.name: gguf.dequantize(np.array(tensor.data), tensor.tensor_type).reshape(tensor.shape[::-1])
            for tensor in gguf.GGUFReader(path).tensors
            if tensor.tensor_type in KNOWN
        }


def norms(array: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(np.square(array.astype(np.float64)), axis=1))


def test_every_type_that_gguf_dequantizes_is_measured_as_gguf_does(model: Path) -> None:
    report, known = look(model), whole(model)
    assert {row.step.variable.stored_dtype for row in report.rows} == {kind.name for kind in KNOWN}
    assert len(KNOWN) >= 23
    damaged = 0
    for row in report.rows:
        expected = norms(known[row.step.variable.name])
        found = report.unit_norms(row.step.variable.name).ravel()
        assert np.allclose(found, expected, rtol=1e-12, atol=0, equal_nan=True), row.step.variable.stored_dtype
        assert row.nonfinite == np.count_nonzero(~np.isfinite(expected))
        damaged += row.nonfinite
    assert 0 < damaged < report.totals.units


def test_a_block_is_read_alone_wherever_it_begins_and_ends(model: Path) -> None:
    known = whole(model)
    with open_checkpoint(model) as source:
        for variable in source.variables[:-1]:
            array = known[variable.name]
            for block in (*partition(SHAPE, 100), Block((2, 0), (2, SHAPE[1])), Block((4, 700), (1, 68))):
                assert source.read(variable, block).tobytes() == array[block.box].tobytes()
            assert source.read(variable).tobytes() == array.tobytes()


def test_a_quantized_tensor_without_elements_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_files.gguf([("none.weight", (0, 256), KNOWN[0].value, b""), *NORM]))
    with open_checkpoint(path) as source:
        assert source.read(source.variables[0]).shape == (0, 256)


@pytest.mark.parametrize("kind", [kind for kind in KNOWN if kind.name in ("Q4_0", "Q5_1", "Q8_0", "MXFP4", "TQ2_0")])
def test_what_gguf_quantizes_is_over_where_its_dequantized_norms_are(kind: Any, tmp_path: Path) -> None:
    weights = np.random.default_rng(1).standard_normal(SHAPE).astype("f4")
    path = tmp_path / "m.gguf"
    stored = gguf.quantize(weights, kind).tobytes()
    path.write_bytes(gguf_files.gguf([("output.weight", SHAPE, kind.value, stored)]))
    expected = norms(whole(path)["output.weight"])
    limit = float(np.median(expected)) + 1e-6
    assert look(path, limit).totals.over == np.count_nonzero(expected > limit) == 2


def test_apply_refuses_to_change_one_and_leaves_it_as_it_is_where_it_is_left_out(tmp_path: Path) -> None:
    path, kind = tmp_path / "m.gguf", gguf.GGMLQuantizationType.Q8_0
    quantized = random_tensor(kind)
    path.write_bytes(gguf_files.gguf([*gguf_files.infos(gguf_files.arrays()), quantized]))
    with pytest.raises(FormatError, match=r"is selected but cannot be changed: its numbers are quantized \(Q8_0\)"):
        bound(path, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
    assert bound(path, tmp_path / "out.gguf", exclude=(quantized[0],)).totals.over > 0
    assert np.array_equal(whole(tmp_path / "out.gguf")[quantized[0]], whole(path)[quantized[0]], equal_nan=True)
    assert {row.verdict for row in diff(path, tmp_path / "out.gguf").rows} == {"identical", "pure renorm"}


def test_a_tensor_that_was_quantized_otherwise_changed_its_dtype(tmp_path: Path) -> None:
    weights = np.random.default_rng(1).standard_normal(SHAPE).astype("f4")
    for name in ("Q4_0", "Q8_0"):
        kind = gguf.GGMLQuantizationType[name]
        tensor = ("output.weight", SHAPE, kind.value, gguf.quantize(weights, kind).tobytes())
        (tmp_path / f"{name}.gguf").write_bytes(gguf_files.gguf([tensor]))
    (row,) = diff(tmp_path / "Q4_0.gguf", tmp_path / "Q8_0.gguf").rows
    assert (row.verdict, row.reason) == ("dtype changed", "Q4_0 became Q8_0")


def test_without_the_package_quantized_tensors_are_skipped_and_a_note_names_the_extra(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (blocks, checkpoint):
        monkeypatch.setattr(module, "can_dequantize", lambda: False)
    report = look(model)
    assert {(skip.code, skip.variable.state) for skip in report.skips} == {("dtype", "quantized"), ("role", None)}
    assert [note.text for note in report.notes if note.warning] == [
        f"{len(KNOWN)} of its tensors are quantized and not measured, as the package gguf is not installed;"
        " pip install 'renorm-ckpt[gguf]'"
    ]


def test_blocks_of_which_gguf_tells_no_numbers_or_in_the_other_byte_order_are_skipped(tmp_path: Path) -> None:
    others = [kind for kind in TYPES if kind not in KNOWN]
    assert {kind.name for kind in others} == {known.name for known in blocks.BLOCKS.values() if not known.known}
    for kinds, order in ((others, "<"), (KNOWN, ">")):
        skips = look(write(tmp_path / "m.gguf", kinds, order)).skips
        assert {skip.variable.dtype for skip in skips} == {"float32", *(kind.name for kind in kinds)}


def test_sizes_of_blocks_are_those_of_gguf_but_of_q8_1_which_ggml_changed(tmp_path: Path) -> None:
    sizes = {kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in TYPES if kind != Q8_1}
    assert {number: known[:3] for number, known in blocks.BLOCKS.items() if number != Q8_1} == sizes
    for size in (36, 40):  # a file of either size is read: nothing overlaps
        path, content = tmp_path / f"{size}.gguf", bytes(SHAPE[0] * SHAPE[1] // 32 * size)
        known = [("q", SHAPE, Q8_1, content), *NORM]
        path.write_bytes(gguf_files.gguf(known))
        with open_checkpoint(path) as source:
            assert source.read(source.variables[1]).tolist() == [1, 1, 1, 1]


def test_an_installed_gguf_that_lacks_a_type_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*given: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("gguf.quants.dequantize", lacks)
    with pytest.raises(FormatError, match=r"gguf does not dequantize .*pip install -U 'renorm-ckpt\[gguf\]'"):
        look(model)


def test_a_weight_with_a_scale_beside_it_is_told_as_such(tmp_path: Path) -> None:
    known = {"blk.0.ffn_up.weight": np.ones((2, 3), "f4"), "blk.0.ffn_up.scale": np.ones(1, "f4")}
    (tmp_path / "m.gguf").write_bytes(gguf_files.gguf(gguf_files.infos(known)))
    (note,) = look(tmp_path / "m.gguf").notes
    assert note.warning
    assert note.text.startswith("'blk.0.ffn_up.weight': what they compute is multiplied by")
