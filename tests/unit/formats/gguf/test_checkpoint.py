"""Files of GGUF: split models, byte orders, quantized tensors, and what names tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import gguf_files
from support.files import agrees, bound, look

from renorm_cli.api.verbs import diff
from renorm_cli.conventions.identify import identify
from renorm_cli.errors import FormatError, OutputError
from renorm_cli.fleet.discover import Search
from renorm_cli.formats.registry import find, locate, open_checkpoint
from renorm_cli.model.variable import Hint, Variable


@pytest.mark.parametrize(
    ("name", "shape", "role", "axes"),
    [
        ("token_embd.weight", (7, 8), "embedding", (0,)),
        ("output.weight", (7, 8), "kernel", (0,)),
        ("blk.0.attn_q.weight", (8, 8), "kernel", (0,)),
        ("blk.0.attn_q.bias", (8,), "bias", ()),
        ("blk.0.ffn_gate_exps.weight", (3, 5, 8), "kernel", (0, 1)),
        ("blk.0.attn_k_b.weight", (3, 5, 8), "kernel", (0, 1)),
        ("blk.0.attn_v_b.weight", (3, 5, 8), "kernel", (0, 1)),
        ("blk.0.attn_k_b.weight", (15, 8), "kernel", (0,)),
        ("blk.0.time_mix_w2.weight", (5, 8, 4), "kernel", (0, 1)),
        ("blk.0.time_mix_lerp_fused.weight", (6, 1, 1, 8), "scale", (0,)),
        ("blk.0.time_mix_first.weight", (2, 4), "scale", (0,)),
        ("blk.0.ffn_gate_inp.weight", (3, 8), "kernel", (0,)),
        ("blk.0.attn_q_norm.weight", (8,), "scale", ()),
        ("output_norm.weight", (8,), "scale", ()),
        ("v.patch_embd.weight", (8, 3, 4, 4), "kernel", (0,)),
        ("blk.0.attn_q.weight.lora_a", (2, 8), "lora", (0,)),
        ("blk.0.ssm_a", (4, 8), "unknown", (0,)),
    ],
)
def test_a_name_of_ggml_tells_role_and_unit_axes(
    name: str, shape: tuple[int, ...], role: str, axes: tuple[int, ...]
) -> None:
    (found,) = identify([Variable(name, name, shape, "float32", Hint("gguf"))])
    assert found.identity is not None
    assert (found.identity.role, found.identity.unit_axes) == (role, axes)


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_are_read_and_bounded_in_the_byte_order_of_the_file(order: str, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", order=order)
    names = [name for name, array in gguf_files.arrays().items() if array.dtype.kind == "f"]
    report = bound(path, tmp_path / "out.gguf", *names)
    assert report.totals.over > 0
    with open_checkpoint(tmp_path / "out.gguf") as source:
        after = {variable.key: source.read(variable) for variable in source.variables if variable.key in names}
        big = next(variable for variable in source.variables if variable.key == "token_embd.weight")
        assert (big.locked is None) == (order == "<")
    for name in names:
        before = gguf_files.arrays()[name]
        if name in gguf_files.KERNELS:
            found = after[name].astype(after[name].dtype.newbyteorder("="))
            agrees(before, found, gguf_files.KERNELS[name], 1.0)
    content = path.read_bytes()
    assert gguf_files.BLOCKS in (tmp_path / "out.gguf").read_bytes()
    assert len(content) == len((tmp_path / "out.gguf").read_bytes())


def test_a_quantized_tensor_that_cannot_be_read_is_listed_by_its_type_and_never_selected(
    tmp_path: Path,
) -> None:
    report = look(gguf_files.write(tmp_path / "m.gguf"))
    (found,) = [skip for skip in report.skips if skip.variable.name == "blk.0.ffn_down.weight"]
    assert (found.variable.dtype, found.variable.shape, found.variable.state) == ("Q8_K", (6, 256), "quantized")


def test_a_part_leads_to_the_whole_and_the_first_to_all(tmp_path: Path) -> None:
    first = gguf_files.write_split(tmp_path)
    with pytest.raises(FormatError, match=r"is a part of the checkpoint '[^']*m-00001-of-00003\.gguf'"):
        find(tmp_path / "m-00002-of-00003.gguf")
    whole = {variable.name for variable in gguf_names(first)}
    assert whole == {variable.name for variable in gguf_names(gguf_files.write(tmp_path / "whole.gguf"))}
    items = [Path(item.path).name for item in Search(recursive=True).items([str(tmp_path)])]
    assert items == ["m-00001-of-00003.gguf", "whole.gguf"]


def gguf_names(path: Path) -> tuple[Variable, ...]:
    with open_checkpoint(path) as source:
        return source.variables


@pytest.mark.parametrize("given", ["o.gguf", "o-00001-of-00003.gguf", "o"])
def test_an_output_of_a_split_model_is_split_in_the_same_way(given: str, tmp_path: Path) -> None:
    first = gguf_files.write_split(tmp_path)
    bound(first, tmp_path / given)
    assert sorted(path.name for path in tmp_path.glob("o-*.gguf")) == [
        f"o-{part:05}-of-00003.gguf" for part in (1, 2, 3)
    ]
    before, after = ([path.stat().st_size for path in sorted(tmp_path.glob(f"{stem}-*.gguf"))] for stem in ("m", "o"))
    assert before == after
    assert locate(first).default_output().path.name == "m-renorm-00001-of-00003.gguf"


def test_in_place_all_parts_are_replaced_unless_one_is_a_link(tmp_path: Path) -> None:
    first = gguf_files.write_split(tmp_path)
    assert bound(first, None, in_place=True).totals.over > 0
    assert look(first, 1.0).totals.over == 0
    part = tmp_path / "m-00003-of-00003.gguf"
    part.rename(tmp_path / "elsewhere.gguf")
    part.symlink_to(tmp_path / "elsewhere.gguf")
    with pytest.raises(FormatError, match=r"m-00003-of-00003.gguf' cannot be opened: it is a link"):
        bound(first, None, in_place=True)
    first.rename(tmp_path / "other.gguf")
    first.symlink_to(tmp_path / "other.gguf")
    with pytest.raises(FormatError, match=r"m-00001-of-00003.gguf' cannot be opened: it is a link"):
        bound(first, None, in_place=True)
    with pytest.raises(OutputError, match="is a directory"):
        locate(first).output(tmp_path)


def test_numbers_of_a_tensor_without_axes_and_without_elements_are_read(tmp_path: Path) -> None:
    known = {"one": np.array(2.5, "<f4"), "none": np.zeros((0, 4), "<f4"), "many": np.arange(4, dtype="<i4")}
    (tmp_path / "m.gguf").write_bytes(gguf_files.gguf(gguf_files.infos(known)))
    with open_checkpoint(tmp_path / "m.gguf") as source:
        for variable in source.variables:
            assert np.array_equal(source.read(variable), known[variable.key])


def test_metadata_of_every_type_is_passed_over(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for bits in (8, 16, 32, 64):
        for kind in ("uint", "int"):
            getattr(writer, f"add_{kind}{bits}")(f"{kind}{bits}", 1)
    writer.add_float32("float32", 0.5)
    writer.add_float64("float64", 0.5)
    writer.add_bool("bool", True)
    writer.add_array("words", ["one", "two"])
    writer.add_array("numbers", [[0.5], [1.5, 2.5]])
    writer.add_tensor("output.weight", np.eye(3, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_checkpoint(tmp_path / "m.gguf") as checkpoint:
        assert [variable.name for variable in checkpoint.variables] == ["output.weight"]


def test_numbers_of_a_type_that_is_not_known_are_not_compared(tmp_path: Path) -> None:
    paths = tmp_path / "one.gguf", tmp_path / "other.gguf"
    for path, content in zip(paths, (bytes(32), bytes(range(32))), strict=True):
        path.write_bytes(gguf_files.gguf([("output.weight", (4, 8), 250, content)]))
    assert [row.verdict for row in diff(*paths).rows] == ["not compared"]
    assert [row.verdict for row in diff(paths[0], paths[0]).rows] == ["identical"]
