"""Files of PyTorch: which tensors are bounded and how they lie, and what PyTorch reads of an output."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, torch_files
from support.files import agrees, bound, look

from renorm_cli.api.verbs import check, diff
from renorm_cli.errors import FormatError
from renorm_cli.formats.registry import open_checkpoint

KERNEL = builders.kernel((6, 4), (0,))


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def saved(torch: Any, value: Any, path: Path, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def model(torch: Any) -> Any:
    nn = torch.nn
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 4, 3),
        nn.Linear(4, 5),
        nn.Embedding(7, 3),
        nn.LSTM(3, 4),
    )


AXES = {
    "0.weight": (0,),
    "2.weight": (1,),
    "3.weight": (0,),
    "4.weight": (0,),
    "5.weight_ih_l0": (0,),
    "5.weight_hh_l0": (0,),
}


def states(torch: Any, path: Path) -> Iterator[dict[str, Any]]:
    """The state in a file in each way that PyTorch loads it."""
    options = [{"weights_only": True}, {"weights_only": False}]
    if path.read_bytes()[:2] == b"PK":
        options.append({"weights_only": True, "mmap": True})
    for each in options:
        yield torch.load(path, **each)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt", "pth"])
def test_pytorch_reads_an_output_in_each_way_as_the_oracle_makes_it(ending: str, tmp_path: Path, torch: Any) -> None:
    state = model(torch).state_dict()
    path, out = tmp_path / f"m.{ending}", tmp_path / f"out.{ending}"
    saved(torch, state, path, _use_new_zipfile_serialization=ending == "pt")
    report = bound(path, out, limit=0.5)
    assert {row.step.variable.key: row.step.unit_axes for row in report.rows} == AXES
    for after in states(torch, out):
        assert list(after) == list(state)
        for name, array in state.items():
            if name in AXES:
                agrees(array.numpy(), after[name].numpy(), AXES[name], 0.5)
            else:
                assert torch.equal(array, after[name])
    if ending == "pt":
        with zipfile.ZipFile(out) as archive:
            assert archive.testzip() is None
        assert subprocess.run(["unzip", "-tq", out], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_pickled_module_tells_its_classes_and_is_loaded_again(tmp_path: Path, torch: Any) -> None:
    path, out = saved(torch, model(torch), tmp_path / "m.pt"), tmp_path / "out.pt"
    report = bound(path, out, limit=0.5)
    assert {row.step.variable.name: row.step.unit_axes for row in report.rows} == AXES
    assert {row.step.variable.layer for row in report.rows} == {
        "Conv2d",
        "ConvTranspose2d",
        "Linear",
        "Embedding",
        "LSTM",
    }
    before, after = model(torch).state_dict(), torch.load(out, weights_only=False).state_dict()
    for name, axes in AXES.items():
        agrees(before[name].numpy(), after[name].numpy(), axes, 0.5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchscript_loads_an_output(tmp_path: Path, torch: Any) -> None:
    nn = torch.nn
    path, out = tmp_path / "m.pt", tmp_path / "out.pt"
    script = torch.jit.script(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
    script.save(path)
    bound(path, out, limit=0.3)
    before, after = script.state_dict(), torch.jit.load(out).state_dict()
    for name in ("0.weight", "2.weight"):
        agrees(before[name].numpy(), after[name].numpy(), (0,), 0.3)


@pytest.mark.slow
def test_views_are_bounded_where_their_numbers_lie_together_and_alone(tmp_path: Path, torch: Any) -> None:
    base, rows = torch.randn(10, 10), torch.randn(9, 4)
    last = torch.randn(6, 3, 2, 2).to(memory_format=torch.channels_last)
    tensors = {
        "t.weight": torch.randn(4, 6).t(),
        "last.weight": last,
        "last.bias": torch.zeros(6),
        "part.weight": rows[2:5],
        "tied.weight": rows[6:8],
        "also.weight": rows[6:8],
        "one.weight": base[:3],
        "overlaps.weight": base[2:5],
        "columns.weight": torch.randn(5, 5)[:, 3:5],
        "repeated.weight": torch.randn(3, 1).expand(3, 4),
    }
    path, out = saved(torch, tensors, tmp_path / "m.pt"), tmp_path / "out.pt"
    locked = [f"{name}.weight" for name in ("one", "overlaps", "columns", "repeated")]
    with open_checkpoint(path) as source:
        found = {variable.name: variable for variable in source.variables}
    assert sorted(name for name, one in found.items() if one.locked) == sorted(locked)
    assert found["tied.weight"].aliases == ("also.weight",)
    assert (found["t.weight"].shape, found["last.weight"].shape) == ((4, 6), (6, 2, 2, 3))
    from renorm_cli.api.verbs import apply

    apply(path, out, max_norm=0.5, exclude=locked, engine="numpy")
    after = torch.load(out)
    for name, array in tensors.items():
        if array.dim() < 2 or name in locked:
            assert torch.equal(array, after[name])
        else:
            agrees(array.numpy(), after[name].numpy(), (0,), 0.5)


@pytest.mark.slow
def test_a_file_without_checksums_keeps_none_and_one_with_many_tensors_is_read(tmp_path: Path, torch: Any) -> None:
    from torch.utils.serialization import config

    state = {f"{number}.weight": torch.ones(2, 3) for number in range(10_100)}
    config.save.compute_crc32 = False
    try:
        path, out = saved(torch, state, tmp_path / "a:b.pt"), tmp_path / "out.pt"
    finally:
        config.save.compute_crc32 = True
    assert bound(path, out).totals.over == 2 * 10_100
    assert torch.load(out)["7.weight"].norm(dim=1).max() <= 1
    with zipfile.ZipFile(out) as archive:
        assert {info.CRC for info in archive.infolist()} == {0}


@pytest.mark.slow
def test_a_checkpoint_of_a_training_is_bounded_but_for_the_state_of_its_optimizer(tmp_path: Path, torch: Any) -> None:
    made = model(torch)
    optimizer = torch.optim.Adam(made.parameters())
    sum((weight**2).sum() for weight in made.parameters()).backward()
    optimizer.step()
    value = {
        "state_dict": made.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "epoch": 3,
        5: torch.ones(2),
    }
    report = look(saved(torch, value | {"5": torch.ones(2)}, tmp_path / "m.ckpt"))
    assert {row.step.variable.name for row in report.rows} == {f"state_dict.{name}" for name in AXES}
    roles = {skip.variable.name: skip.role for skip in report.skips}
    assert {role for name, role in roles.items() if name.startswith("optimizer_states")} == {"optimizer"}
    assert {"5", "5#2"} <= roles.keys()


@pytest.mark.slow
def test_transformers_reads_an_output_in_shards_as_the_oracle_makes_it(tmp_path: Path, torch: Any) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=50, n_positions=12, n_embd=8, n_layer=2, n_head=2)
    made = transformers.GPT2Model(config)
    state = made.state_dict()
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    half = len(state) // 2
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    weight_map = {}
    for name, part in zip(names, (list(state.items())[:half], list(state.items())[half:]), strict=True):
        saved(torch, dict(part), tmp_path / "in" / name)
        weight_map |= dict.fromkeys(dict(part), name)
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    (tmp_path / "in" / "pytorch_model.bin.index.json").write_text(index)
    config.save_pretrained(tmp_path / "out")
    bound(tmp_path / "in", tmp_path / "out" / "pytorch_model.bin.index.json", limit=0.05)
    after = transformers.GPT2Model.from_pretrained(tmp_path / "out").state_dict()
    for name, array in state.items():
        if array.dim() == 2:
            agrees(array.numpy(), after[name].numpy(), (1,) if "h." in name else (0,), 0.05)


# --- without PyTorch


def test_an_array_stored_in_another_order_of_axes_is_bounded_along_its_own_units(tmp_path: Path) -> None:
    """As facenet-pytorch stores its convolutions: (out, in, h, w) in the order of (h, w, in, out)."""
    kernel = builders.kernel((4, 3, 2, 2), (0,))
    torch_files.write_torch(tmp_path / "m.pt", {"a.weight": np.asfortranarray(kernel), "a.bias": np.zeros(4, "f4")})
    (row,) = bound(tmp_path / "m.pt", tmp_path / "out.pt").rows
    assert (row.step.variable.shape, row.step.unit_axes) == ((2, 2, 3, 4), (3,))
    agrees(kernel, torch_files.read_torch(tmp_path / "out.pt")["a.weight"], (0,), 1.0)


def test_overlapping_views_that_kept_their_bytes_are_identical(tmp_path: Path) -> None:
    views = {
        "one.weight": torch_files.tensor("0", "FloatStorage", 24, 0, (4, 4), (4, 1)),
        "other.weight": torch_files.tensor("0", "FloatStorage", 24, 8, (4, 4), (4, 1)),
        "fc.weight": torch_files.tensor("1", "FloatStorage", 24, 0, (6, 4), (4, 1)),
    }
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", torch_files.pickled(views))
        for key in "01":
            archive.writestr(f"m/data/{key}", KERNEL.tobytes())
    bound(tmp_path / "m.pt", tmp_path / "out.pt", "fc.weight")
    found = diff(tmp_path / "m.pt", tmp_path / "out.pt", include=["fc.weight"], expect_renorm=True, max_norm=1.0)
    expected = {"one.weight": "identical", "other.weight": "identical", "fc.weight": "pure renorm"}
    assert {row.name: row.verdict for row in found.rows} == expected


LONG, FLOAT = "LongStorage", "FloatStorage"


def _odd(path: Path, odd: bytes, values: np.ndarray = KERNEL, method: int = zipfile.ZIP_STORED) -> Path:
    """A file with a tensor that does not lie plainly in the storages 0 and 1, and one that does."""
    pairs = {"odd.weight": odd, "fc.weight": torch_files.of_array("2", KERNEL)}
    indices = np.arange(8, dtype=np.int64) % 4
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("m/data.pkl", torch_files.pickled(pairs))
        for key, array in enumerate((values, indices, KERNEL)):
            archive.writestr(f"m/data/{key}", array.tobytes())
    return path


def _coo(count: int = 4, layout: str = "torch.sparse_coo", size: tuple[int, int] = (4, 4)) -> bytes:
    indices = torch_files.tensor("1", LONG, 8, 0, (2, count), (count, 1))
    values = torch_files.tensor("0", FLOAT, 24, 0, (count,), (1,))
    return torch_files.sparse(layout, [indices, values], size)


GAPS = torch_files.tensor("0", FLOAT, 24, 0, (6, 2), (4, 1))
ODD = {
    "gaps": (GAPS, torch_files.tensor("0", FLOAT, 24, 0, (6, 2), (4, 2)), "its numbers do not lie one behind"),
    "sparse": (_coo(), _coo(layout="torch.sparse_csr"), "its bytes are those of a sparse tensor"),
    "fewer": (_coo(), _coo(3), "its bytes are those of a sparse tensor"),
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", ODD)
def test_a_tensor_that_does_not_lie_plainly_is_compared_by_all_that_tells_it(
    kind: str, method: int, tmp_path: Path
) -> None:
    odd, other, reason = ODD[kind]
    path = _odd(tmp_path / "m.pt", odd, method=method)
    bound(path, tmp_path / "out.pt", "fc.weight")
    found = diff(path, tmp_path / "out.pt", include=["fc.weight"], expect_renorm=True, max_norm=1.0)
    assert (found.proven, {row.verdict for row in found.rows}) == (True, {"identical", "pure renorm"})
    spoiled = KERNEL.copy()
    spoiled[0, 1] += 1
    for changed in (_odd(tmp_path / "1.pt", other), _odd(tmp_path / "2.pt", odd, spoiled)):
        row = next(row for row in diff(path, changed).rows if row.name == "odd.weight")
        assert (row.verdict, (row.reason or "").startswith(f"its bytes changed; {reason}")) == ("other", True)


HALVES = torch_files.tensor("0", "ComplexHalfStorage", 24, 0, (6, 2), (4, 1))


@pytest.mark.parametrize("odd", [HALVES, torch_files.sparse("torch.sparse_coo", [HALVES], (4, 4))])
def test_what_does_not_lie_plainly_and_is_of_no_known_width_is_not_compared(odd: bytes, tmp_path: Path) -> None:
    found = diff(_odd(tmp_path / "1.pt", odd), _odd(tmp_path / "2.pt", odd, 2 * KERNEL))
    assert {row.name: row.verdict for row in found.rows} == {"odd.weight": "not compared", "fc.weight": "identical"}


def test_a_tensor_in_whose_storage_lies_one_of_no_known_width_does_not_change(tmp_path: Path) -> None:
    unknown = torch_files.tensor("0", FLOAT, 24, 0, (6, 4), (4, 1)).replace(
        b"_rebuild_tensor_v2", b"_rebuild_tensor_v3"
    )
    unknown = unknown.removesuffix(b"tR") + b"ctorch\ncomplex32\ntR"
    pairs = {"fc.weight": torch_files.tensor("0", FLOAT, 24, 0, (6, 4), (4, 1)), "odd": unknown}
    path = _one(tmp_path / "m.pt", pairs, KERNEL.tobytes())
    with pytest.raises(FormatError, match=r"'fc.weight' is selected .* it shares some of its bytes"):
        bound(path, tmp_path / "out.pt", "fc.weight")


def test_the_conjugate_of_a_tensor_is_not_the_same_tensor_of_two_names(tmp_path: Path) -> None:
    plain = torch_files.tensor("0", "ComplexFloatStorage", 12, 0, (3, 4), (4, 1))
    conjugate = plain.removesuffix(b"tR") + b"}" + torch_files.text("conj") + b"\x88stR"
    one = _one(tmp_path / "1.pt", {"a": plain, "b": conjugate}, KERNEL.tobytes())
    other = _one(tmp_path / "2.pt", {"a": plain, "b": plain}, KERNEL.tobytes())
    assert {row.name: row.verdict for row in diff(one, other).rows} == {"a": "not compared", "b": "missing"}


@pytest.mark.parametrize("count", [10, 30])
def test_a_storage_is_not_read_for_any_number_of_its_views(count: int, tmp_path: Path) -> None:
    views = {
        f"{number}.weight": torch_files.tensor("0", FLOAT, 24, 0, (2, number + 2), (12, 0)) for number in range(count)
    }
    with open_checkpoint(_one(tmp_path / "m.pt", views, KERNEL.tobytes())) as source:
        assert all((source.raw(variable) is None) == (count == 30) for variable in source.variables)


def test_a_sparse_matrix_is_none_of_which_a_bound_is_known_to_hold(tmp_path: Path) -> None:
    path = _odd(tmp_path / "m.pt", _coo())
    with open_checkpoint(path) as source:
        assert [(one.name, one.shape, one.dtype) for one in source.variables] == [
            ("odd.weight", (4, 4), "float32"),
            ("fc.weight", (6, 4), "float32"),
        ]
    with pytest.raises(FormatError, match=r"'odd.weight' is selected but is not readable: its bytes are those of"):
        check(path, max_norm=100.0)


def test_the_values_of_a_sparse_tensor_that_are_another_tensor_too_do_not_change(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    pairs = {"adjacent": _coo(), "fc.weight": torch_files.tensor("0", FLOAT, 24, 0, (6, 4), (4, 1))}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", torch_files.pickled(pairs))
        archive.writestr("m/data/0", KERNEL.tobytes())
        archive.writestr("m/data/1", np.zeros(8, np.int64).tobytes())
    with pytest.raises(FormatError, match=r"'fc.weight' is selected .* it shares some of its bytes"):
        bound(path, tmp_path / "out.pt")


BROKEN = {
    "indices": torch_files.tensor("1", LONG, 9, 0, (3, 3), (3, 1)),
    "values": torch_files.tensor("0", FLOAT, 24, 21, (4,), (1,)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_sparse_tensor_whose_parts_run_over_their_storages_is_refused(name: str, tmp_path: Path) -> None:
    indices = torch_files.tensor("1", LONG, 8, 0, (2, 4), (4, 1))
    parts = [BROKEN[name]] if name == "indices" else [indices, BROKEN[name]]
    with pytest.raises(FormatError, match=r"'odd.weight' needs [0-9]+ bytes of a storage of"):
        look(_odd(tmp_path / "m.pt", torch_files.sparse("torch.sparse_coo", parts, (4, 4))))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:(Sparse|Validating sparse):UserWarning")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_tensors_of_pytorch_keep_their_numbers(layout: str, tmp_path: Path, torch: Any) -> None:
    dense = torch.randn(6, 4).relu()
    blocks = (2, 2) if layout.startswith("bs") else None
    odd = dense.to_sparse(layout=getattr(torch, f"sparse_{layout}"), blocksize=blocks)
    tensors = {"odd.weight": odd, "fc.weight": torch.from_numpy(KERNEL.copy())}
    path = saved(torch, tensors, tmp_path / "m.pt")
    bound(path, tmp_path / "out.pt", "fc.weight")
    after = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(after["odd.weight"].to_dense(), dense)
    agrees(KERNEL, after["fc.weight"].numpy(), (0,), 1.0)
    found = diff(path, tmp_path / "out.pt", include=["fc.weight"], expect_renorm=True, max_norm=1.0)
    assert (found.proven, [row.name for row in found.rows]) == (True, ["odd.weight", "fc.weight"])


def _one(path: Path, instructions: dict[str, bytes], content: bytes, order: bytes = b"little") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", torch_files.pickled(instructions))
        archive.writestr("m/byteorder", order)
        archive.writestr("m/data/0", content)
    return path


def test_empty_tensors_are_not_tied_by_lying_in_one_place(tmp_path: Path) -> None:
    empty = torch_files.tensor("0", FLOAT, 0, 0, (0, 4), (4, 1))
    with open_checkpoint(_one(tmp_path / "m.pt", {"a.weight": empty, "b.weight": empty}, b"")) as source:
        assert [(one.name, one.aliases) for one in source.variables] == [("a.weight", ()), ("b.weight", ())]


def test_axes_of_one_element_stand_outside_where_the_others_are_in_another_order(tmp_path: Path) -> None:
    turned = torch_files.tensor("0", FLOAT, 24, 0, (4, 1, 6), (1, 24, 4))
    with open_checkpoint(_one(tmp_path / "m.pt", {"a.weight": turned}, KERNEL.tobytes())) as source:
        (variable,) = source.variables
        stored = source.read(variable)
    assert (variable.shape, variable.hint.order) == ((1, 6, 4), (1, 2, 0))
    view = np.lib.stride_tricks.as_strided(KERNEL, (4, 1, 6), (4, 96, 16))
    assert np.array_equal(stored.transpose(2, 0, 1), view)


def test_numbers_that_are_not_as_their_bytes_say_are_not_read(tmp_path: Path) -> None:
    flagged = torch_files.tensor("0", FLOAT, 24, 0, (6, 4), (4, 1))[:-2] + b"}" + torch_files.text("neg") + b"\x88s"
    path = _one(tmp_path / "m.pt", {"a.weight": flagged + b"tR"}, KERNEL.tobytes())
    wide = torch_files.tensor("0", "BFloat16Storage", 24, 0, (6, 4), (4, 1))
    big = _one(tmp_path / "big.pt", {"a.weight": wide}, KERNEL.tobytes()[:48], b"big")
    for one, reason in ((path, "stored as its conjugate or its negative"), (big, "bfloat16 in big-endian order")):
        with open_checkpoint(one) as source:
            assert reason in (source.variables[0].locked or "")


def test_a_checksum_of_zero_stays_and_is_no_damage(tmp_path: Path) -> None:
    torch_files.write_torch(tmp_path / "m.pt", {"a.weight": KERNEL}, unsummed=True)
    bound(tmp_path / "m.pt", tmp_path / "out.pt")
    with zipfile.ZipFile(tmp_path / "out.pt") as archive:
        assert {info.CRC for info in archive.infolist()} == {0}
    agrees(KERNEL, _unsummed(tmp_path / "out.pt"), (0,), 1.0)


def _unsummed(path: Path) -> np.ndarray:
    with open_checkpoint(path) as source:
        return np.array(source.read(source.variables[0]))


def test_a_checksum_that_is_not_true_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch_files.write_torch(path, {"a.weight": KERNEL})
    content = bytearray(path.read_bytes())
    content[content.index(KERNEL.tobytes())] ^= 1
    path.write_bytes(content)
    assert any("is damaged" in note.text for note in look(path).notes)
    with pytest.raises(FormatError, match="is damaged"):
        bound(path, tmp_path / "out.pt")


PLACES = {
    "beyond its storage": ("FloatStorage", 24, 1, "needs 100 bytes of a storage of 96"),
    "in a storage that is shorter than it says": ("FloatStorage", 25, 0, "needs 100 bytes of a storage of 96"),
    "of wider numbers": ("DoubleStorage", 24, 0, "needs 192 bytes of a storage of 96"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_tensor_that_runs_over_its_storage_is_refused(name: str, tmp_path: Path) -> None:
    kind, numbers, offset, said = PLACES[name]
    told = {"a.weight": torch_files.tensor("0", kind, numbers, offset, (6, 4), (4, 1))}
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", torch_files.pickled(told))
        archive.writestr("m/data/0", KERNEL.tobytes())
    with pytest.raises(FormatError, match=said):
        look(tmp_path / "m.pt")
