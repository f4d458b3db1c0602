"""Models of ONNX with their files: how tensors are stored, what an output is called, and what onnx reads of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support import builders, onnx_files, oracle
from support.files import agrees, bound, look
from support.found import file_at
from support.graph_build import blob, number
from support.memory_file import MemoryFile
from support.onnx_files import Form, graph, model, node, tensor, value_info
from support.sharing import Workers

from renorm_cli.api.verbs import check, diff, inspect
from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Head
from renorm_cli.formats.onnx.checkpoint import open_onnx
from renorm_cli.formats.onnx.format import OnnxFormat
from renorm_cli.formats.registry import find, open_checkpoint
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.run.shares import lies_alike
from renorm_cli.run.steps import Work
from renorm_cli.storage.staging import Staging

KERNEL = builders.kernel((6, 5), (1,))


def matmuls(*tensors: bytes, names: tuple[str, ...] = ("w",)) -> bytes:
    """A model that multiplies by tensors one after the other."""
    nodes = [node("MatMul", [f"x{number}", name], [f"x{number + 1}"]) for number, name in enumerate(names)]
    outputs = [value_info(f"x{len(names)}", 1, [2, KERNEL.shape[1]])]
    return model(graph(nodes, tensors, [value_info("x0", 1, [2, KERNEL.shape[0]])], outputs))


@pytest.mark.parametrize(
    ("dtype", "form", "why"),
    [
        ("float32", "raw", ""),
        ("float32", "typed", ""),
        ("float64", "typed", ""),
        ("float16", "raw", ""),
        ("bfloat16", "raw", ""),
        ("float32", "pieces", "cannot be changed: its numbers are stored in pieces"),
        ("float64", "pieces", "cannot be changed: its numbers are stored in pieces"),
        ("float16", "typed", "cannot be changed: its numbers are stored in varying numbers of bytes"),
        ("bfloat16", "typed", "cannot be changed: its numbers are stored in varying numbers of bytes"),
        ("float32", "none", "is not readable: the file holds no data for it"),
    ],
)
def test_numbers_that_lie_as_plain_bytes_are_bounded_and_others_measured_where_they_can_be_read(
    dtype: str, form: Form, why: str, tmp_path: Path
) -> None:
    array = KERNEL.astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    path.write_bytes(matmuls(tensor("w", array, form), tensor("v", KERNEL), names=("w", "v")))
    norms = {row.step.variable.key: row.norm.max for row in look(path).rows if row.norm is not None}
    assert norms.get("w") == (None if form == "none" else pytest.approx(oracle.unit_norms(array, (1,)).max()))
    if not why:
        bound(path, out)
        agrees(array, onnx_files.read_onnx(out)["w"], (1,), 1.0)
        return
    for destination in ({"dry_run": True}, {}):
        with pytest.raises(FormatError, match=f"'w' is selected but {why}"):
            bound(path, out, **destination)
    bound(path, out, exclude=("w",))
    agrees(KERNEL, onnx_files.read_onnx(out)["v"], (1,), 1.0)


def test_what_is_sparse_or_of_another_type_is_listed_with_the_reason(tmp_path: Path) -> None:
    values = blob(1, tensor("s", np.ones(2, np.float32))) + blob(2, tensor("", np.zeros(2, np.int64)))
    odd = number(1, 2) + number(2, 8) + blob(6, "a") + blob(6, "b") + blob(8, "words")
    four = number(1, 3) + number(2, 22) + blob(9, b"\1\2") + blob(8, "four")
    content = model(graph([], [odd, four], sparse=[values + number(3, 4) + number(3, 4)]))
    (tmp_path / "m.onnx").write_bytes(content)
    with open_checkpoint(tmp_path / "m.onnx") as source:
        found = {one.key: (one.shape, one.dtype, one.locked) for one in source.variables}
        assert [b"".join(source.raw(one) or ()) for one in source.variables] == [b"", b"\1\2", b""]
    assert found == {
        "words": ((2,), "string", "it is of string, which is not read"),
        "four": ((3,), "int4, packed", None),
        "s": ((4, 4), "float32", "it is stored as a sparse tensor"),
    }


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x01\x01", b"\x01" * 7, b"\x01" * 5 + b"\x80" * 10 + b"\x01"])
def test_fewer_numbers_than_the_shape_says_or_none_at_all_are_an_error_once_they_are_read(
    content: bytes, tmp_path: Path
) -> None:
    half = number(1, 2) + number(1, 3) + number(2, 10) + blob(5, content) + blob(8, "w")
    (tmp_path / "m.onnx").write_bytes(matmuls(half))
    with pytest.raises(FormatError, match="'w' needs 6 numbers by its shape"):
        look(tmp_path / "m.onnx")


def test_a_model_is_shared_out_but_for_numbers_that_are_no_plain_bytes(tmp_path: Path) -> None:
    for form, shared in (("raw", True), ("pieces", False)):
        (tmp_path / "m.onnx").write_bytes(matmuls(tensor("w", KERNEL, form)))  # type: ignore[arg-type]
        workers = Workers()
        (row,) = inspect(tmp_path / "m.onnx", workers=workers).rows
        assert bool(workers.done) == shared
        assert row.norm is not None
        assert row.norm.max == pytest.approx(oracle.unit_norms(KERNEL, (1,)).max())


def test_an_output_that_keeps_its_names_lies_as_its_input_does(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(KERNEL.tobytes())
    (tmp_path / "w.onnx").write_bytes(matmuls(tensor("w", KERNEL, outside={"location": "w.data"})))
    for folder, name, alike in ((".", "other.onnx", False), ("there", "w.onnx", True)):
        (tmp_path / folder).mkdir(exist_ok=True)
        with open_checkpoint(tmp_path / "w.onnx") as source, Staging() as staging:
            sink = source.stage(staging, source.location.output(tmp_path / folder / name), source.variables)
            assert lies_alike(source, Work(source, NumpyEngine(), bound=True, sink=sink)) == alike


class Counting(MemoryFile):
    """Counts the bytes that are read of it."""

    read = 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.read += len(buffer)
        super().read_into(offset, buffer)


def test_listing_a_model_reads_none_of_its_tensors() -> None:
    large = np.zeros((1000, 1000), np.float32)
    content = matmuls(tensor("w", large), tensor("v", large), names=("w", "v"))
    file = Counting(Path("m.onnx"), content)
    with open_onnx(file_at(Path("m.onnx"), file)) as source:
        assert len(source.variables) == 2
    assert file.read < 100_000 < len(content)


def test_an_output_of_another_name_has_files_of_that_name_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    onnx_files.write_outside(tmp_path / "m.onnx", checksum=True)
    before = onnx_files.read_onnx(tmp_path / "m.onnx")
    report = bound(tmp_path / "m.onnx", None)
    assert report.output == str(tmp_path / "m-renorm.onnx")
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "m-renorm.onnx",
        "m-renorm.onnx.data",
        "m.onnx",
        "m.onnx.data",
    ]
    after = onnx_files.read_onnx(tmp_path / "m-renorm.onnx")
    for key, array in before.items():
        if key in onnx_files.SMALL_KERNELS:
            agrees(array, after[key], onnx_files.SMALL_KERNELS[key], 1.0)
        else:
            assert array.tobytes() == after[key].tobytes()
    checksum = hashlib.sha1((tmp_path / "m-renorm.onnx.data").read_bytes()).hexdigest()
    assert (tmp_path / "m-renorm.onnx").read_bytes().count(checksum.encode()) == 5
    changed = diff(tmp_path / "m.onnx", tmp_path / "m-renorm.onnx")
    assert [row.name for row in changed.rows if row.changed] == list(onnx_files.SMALL_KERNELS)
    (tmp_path / "m.onnx").unlink()
    (tmp_path / "m.onnx.data").unlink()
    assert bound(tmp_path / "m-renorm.onnx", tmp_path / "again.onnx").totals.over == 0


@pytest.mark.parametrize("length", [1, 60, 127, 128, 200])
def test_a_longer_or_shorter_name_of_a_file_changes_every_length_around_it(length: int, tmp_path: Path) -> None:
    name = "d" * 120
    onnx_files.write_outside(tmp_path / "m.onnx", name)
    out = tmp_path / f"{'o' * length}.onnx"
    bound(tmp_path / "m.onnx", out)
    assert onnx_files.read_onnx(out).keys() == onnx_files.read_onnx(tmp_path / "m.onnx").keys()
    assert name.encode() not in out.read_bytes()


def test_a_model_with_a_file_for_each_tensor_is_published_with_all_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    told = {name: {"location": f"{name}.bin"} for name in ("w", "v")}
    for name in told:
        (folder / f"{name}.bin").write_bytes(KERNEL.tobytes())
    tensors = [tensor(name, KERNEL, outside=entries) for name, entries in told.items()]
    (folder / "m.onnx").write_bytes(matmuls(*tensors, names=("w", "v")))
    (tmp_path / "out").mkdir()
    bound(folder / "m.onnx", tmp_path / "out" / "m.onnx")
    assert sorted(one.name for one in (tmp_path / "out").iterdir() if "report" not in one.name) == [
        "m.onnx",
        "v.bin",
        "w.bin",
    ]
    bound(folder / "m.onnx", tmp_path / "out" / "n.onnx")
    assert (tmp_path / "out" / "n.onnx.00001.data").read_bytes() == (tmp_path / "out" / "w.bin").read_bytes()


def test_a_checksum_that_is_not_that_of_the_file_is_an_error_of_apply_and_check(tmp_path: Path) -> None:
    onnx_files.write_outside(tmp_path / "m.onnx", checksum=True)
    data = tmp_path / "m.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\x01")
    for verb in (bound, lambda path, out: check(path, max_norm=9, engine="numpy")):
        with pytest.raises(FormatError, match=r"m\.onnx\.data"):
            verb(tmp_path / "m.onnx", tmp_path / "out.onnx")  # type: ignore[operator]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]


def test_tensors_of_one_place_are_one_variable_with_an_alias_and_all_its_uses(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(KERNEL.tobytes())
    told = {"location": "d", "offset": 0, "length": KERNEL.nbytes}
    nodes = [node("Gather", ["table", "ids"], ["e"]), node("Gemm", ["x", "head"], ["y"], transB=1)]
    tensors = [tensor(name, KERNEL, outside=told) for name in ("table", "head")]
    (tmp_path / "m.onnx").write_bytes(model(graph(nodes, tensors)))
    (row,) = look(tmp_path / "m.onnx").rows
    variable = row.step.variable
    assert (variable.name, variable.aliases, row.step.role, row.step.unit_axes) == (
        "table",
        ("head",),
        "embedding",
        (0,),
    )


SIDE = tensor("k", np.float32([5]), outside={"location": "side.bin"})
WEIGHT = tensor("w", KERNEL)
VALUES = blob(1, SIDE) + number(3, 4)
INDICES = blob(1, tensor("sparse", np.float32([5]))) + number(3, 4)
INDICES += blob(2, tensor("i", np.int64([1]), outside={"location": "side.bin"}))
MULTIPLY = node("MatMul", ["x", "w"], ["y"])


def _fills(**attribute: tuple[int, bytes]) -> bytes:
    return node("ConstantOfShape", ["shape"], ["filled"], **attribute)


def _with(*nodes: bytes, sparse: tuple[bytes, ...] = ()) -> bytes:
    return graph([MULTIPLY, *nodes], [WEIGHT], sparse=sparse)


BESIDE = {
    "a value": model(_with(_fills(value=(onnx_files.TENSOR, SIDE)))),
    "a list": model(_with(_fills(tensors=(10, SIDE)))),
    "a constant without an output": model(_with(node("Constant", [], [], value=(onnx_files.TENSOR, SIDE)))),
    "values of a sparse tensor": model(_with(_fills(sparse=(22, VALUES)))),
    "indices of a list of sparse tensors": model(_with(_fills(sparse=(23, INDICES)))),
    "indices of a sparse initializer": model(_with(sparse=(INDICES,))),
    "a body": model(
        _with(
            node("If", ["c"], ["z"], then_branch=(onnx_files.GRAPH, graph([_fills(value=(onnx_files.TENSOR, SIDE))])))
        )
    ),
    "a function": model(_with(), [onnx_files.function("own", "F", [], [], [_fills(value=(onnx_files.TENSOR, SIDE))])]),
    "a default of a function": model(
        _with(), [onnx_files.function("own", "F", [], [], []) + blob(11, blob(1, "value") + blob(5, SIDE))]
    ),
    "training": model(_with()) + blob(20, blob(2, graph([_fills(value=(onnx_files.TENSOR, SIDE))], [WEIGHT]))),
    "a weight in training": model(_with()) + blob(20, blob(1, graph([], [SIDE]))),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_that_an_attribute_or_a_graph_of_training_names_is_copied_and_compared(
    name: str, tmp_path: Path
) -> None:
    source, output, data = tmp_path / "m.onnx", tmp_path / "out.onnx", tmp_path / "out.onnx.data"
    source.write_bytes(BESIDE[name])
    side = np.int64([1]) if "indices" in name else np.float32([5])
    (tmp_path / "side.bin").write_bytes(side.tobytes())
    bound(source, output)
    assert data.read_bytes() == side.tobytes()
    assert (output.read_bytes().count(b"out.onnx.data"), output.read_bytes().count(b"side.bin")) == (1, 0)
    verdicts = []
    for content in (side, side + 1):
        data.write_bytes(content.tobytes())
        report = diff(source, output, expect_renorm=True, max_norm=1.0)
        verdicts += [row.verdict for row in report.rows if row.name not in ("w", "sparse")]
    assert verdicts == ["identical", "other"]
    assert report.exit_code == 1


def test_a_weight_whose_bytes_an_attribute_has_too_is_no_alias_of_it(tmp_path: Path) -> None:
    """Else the first of them, the attribute, would hide the weight, which no graph tells of then."""
    (tmp_path / "d").write_bytes(KERNEL.tobytes())
    told = {"location": "d", "offset": 0, "length": KERNEL.nbytes}
    filled = _fills(value=(onnx_files.TENSOR, tensor("k", KERNEL, outside=told)))
    (tmp_path / "m.onnx").write_bytes(model(graph([filled, MULTIPLY], [tensor("w", KERNEL, outside=told)])))
    with pytest.raises(FormatError, match=r"'w' .* it shares some of its bytes with another tensor"):
        bound(tmp_path / "m.onnx", tmp_path / "out.onnx")


def test_a_file_of_tensors_leads_to_its_model(tmp_path: Path) -> None:
    onnx_files.write_outside(tmp_path / "m.onnx")
    with pytest.raises(FormatError, match=r"m\.onnx\.data' is a part of the checkpoint '.*m\.onnx'; give that"):
        find(tmp_path / "m.onnx.data")
    found = OnnxFormat().among(tmp_path, ["m.onnx", "m.onnx.data", "m.onnx_data", "n.onnx", "x.data"])
    assert found == {"m.onnx": ("m.onnx", "m.onnx.data", "m.onnx_data"), "n.onnx": ("n.onnx",)}


def test_a_model_whose_name_is_that_of_a_part_of_another_is_no_part(tmp_path: Path) -> None:
    content = matmuls(tensor("w", KERNEL))
    for name in ("m.onnx", "m.onnx.bak"):
        (tmp_path / name).write_bytes(content)
    assert look(tmp_path / "m.onnx.bak").totals == look(tmp_path / "m.onnx").totals
    bound(tmp_path / "m.onnx", tmp_path / "m.onnx.out")
    assert look(tmp_path / "m.onnx.out", 1.0).totals.over == 0


@pytest.mark.parametrize(
    ("content", "is_onnx"),
    [
        (onnx_files.small_model(), True),
        (onnx_files.small_model()[:400], True),
        (b"\x08\x01\x12\x04\x3a\x02\x0a\x00", False),  # a SavedModel: its graphs are field 2
        (b"\x08\x07\x39\x02\x0a\x00", False),  # field 7 is no message
        (b"\x08\x07\x40\x01\x3a\x00", False),  # nor is field 8
        (b"\x08" + b"\xff" * 30, False),
        (b"\x08\x07" + b"\x12\x00" * 2000 + b"\x3a\x00", False),
        (b"\x08", False),
    ],
)
def test_a_model_is_known_by_its_fields_down_to_the_graph(content: bytes, is_onnx: bool) -> None:
    assert OnnxFormat().recognises(Head(MemoryFile(Path("m"), content))) == is_onnx


def test_operator_norms_of_convolutions_are_those_over_their_last_axes(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx_files.small_model())
    report = inspect(
        tmp_path / "m.onnx", norm="spectral", engine="numpy", include=("conv.weight", "up.weight", "turned")
    )
    assert {row.step.variable.name: row.step.spatial for row in report.rows} == {
        "conv.weight": (2, 3),
        "up.weight": (2, 3),
        "turned": (),
    }


@pytest.mark.slow
def test_onnx_finds_an_output_valid_and_onnxruntime_computes_what_the_oracle_tells(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    second = builders.kernel((5, 5), (1,), seed=4)
    data = KERNEL.tobytes() + second.tobytes()
    told = {"location": "m.data", "offset": 0, "length": KERNEL.nbytes, "checksum": hashlib.sha1(data).hexdigest()}
    tensors = [
        tensor("w", KERNEL, outside=told),
        tensor("v", second, outside=told | {"offset": KERNEL.nbytes, "length": second.nbytes}),
        tensor("u", second, "typed"),
    ]
    (tmp_path / "m.data").write_bytes(data)
    (tmp_path / "m.onnx").write_bytes(matmuls(*tensors, names=("w", "v", "u")))
    x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    for name in ("longer-name.onnx", "m.onnx"):
        out = tmp_path / f"out of {name}" / name
        out.parent.mkdir()
        bound(tmp_path / "m.onnx", out)
        onnx.checker.check_model(out, full_check=True)
        loaded = {
            one.name: onnx.numpy_helper.to_array(one, str(out.parent)) for one in onnx.load(out).graph.initializer
        }
        for key, array in {"w": KERNEL, "v": second, "u": second}.items():
            agrees(array, loaded[key], (1,), 1.0)
        found = runtime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(None, {"x0": x})[0]
        np.testing.assert_allclose(found, x @ loaded["w"] @ loaded["v"] @ loaded["u"], rtol=1e-4, atol=1e-5)
    assert os.listdir(tmp_path) != []  # noqa: PTH208


@pytest.mark.slow
def test_what_onnx_writes_in_every_form_and_dtype_is_read_as_onnx_reads_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    tensors = [
        onnx.numpy_helper.from_array(KERNEL.astype(dtype), dtype) for dtype in ("float32", "float64", "float16", "int8")
    ]
    tensors += [helper.make_tensor(f"typed {dtype}", dtype, [2], [1, 2]) for dtype in (types.FLOAT, types.DOUBLE)]
    made = helper.make_model(helper.make_graph([], "g", [], [], tensors))
    onnx.save(made, tmp_path / "m.onnx")
    onnx.save(made, tmp_path / "o.onnx", save_as_external_data=True, location="o.onnx.data", size_threshold=0)
    for name in ("m.onnx", "o.onnx"):
        with open_checkpoint(tmp_path / name) as source:
            assert [one.name for one in source.variables] == [one.name for one in tensors]
            for variable, one in zip(source.variables, tensors, strict=True):
                assert source.read(variable).tobytes() == onnx.numpy_helper.to_array(one).tobytes()


def test_the_models_of_these_tests_are_what_onnx_reads_them_as() -> None:
    onnx = pytest.importorskip("onnx")
    found = onnx.load_from_string(onnx_files.small_model())
    arrays = onnx_files.small_arrays()
    for one in found.graph.initializer:
        assert onnx.numpy_helper.to_array(one).tobytes() == arrays[one.name].tobytes()
        assert tuple(one.dims) == arrays[one.name].shape
    assert {one.op_type for one in found.graph.node} >= {"If", "LSTM", "ConvTranspose"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_layers_of_an_exported_model_of_pytorch_are_told_as_pytorch_has_them(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    linear, convolution, turned = torch.nn.Linear(6, 5), torch.nn.Conv1d(5, 4, 3), torch.nn.ConvTranspose1d(4, 3, 2)
    recurrent = torch.nn.GRU(3, 2, batch_first=True)

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Embedding(11, 6), linear, convolution, turned, recurrent])

        def forward(self, words: object) -> object:
            hidden = self.layers[1](self.layers[0](words)).transpose(1, 2)
            return self.layers[4](self.layers[3](self.layers[2](hidden)).transpose(1, 2))[0]

    words = torch.arange(9)[None]
    torch.onnx.export(Net().eval(), (words,), str(tmp_path / "m.onnx"), dynamo=False, opset_version=17)
    found = {}
    for row in look(tmp_path / "m.onnx").rows:
        variable, axes = row.step.variable, row.step.unit_axes
        units = tuple(variable.shape[axis] for axis in axes)
        found[tuple(sorted(variable.shape))] = (row.step.role, units)
    assert found == {
        (6, 11): ("embedding", (11,)),
        (5, 6): ("kernel", (5,)),
        (3, 4, 5): ("kernel", (4,)),
        (2, 3, 4): ("kernel", (3,)),
        (1, 3, 6): ("kernel", (1, 6)),
        (1, 2, 6): ("kernel", (1, 6)),
    }
