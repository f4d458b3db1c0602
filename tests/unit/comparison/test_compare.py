"""What `diff` says of two checkpoints that h5py, Keras' samples and TensorFlow wrote."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import builders, keras_zoo, oracle, tf_files, tf_recorded
from support.effort import examples
from support.files import MANIFEST, SAMPLES, WHOLE, bound

from renorm_cli.api.verbs import diff
from renorm_cli.comparison.compare import compare
from renorm_cli.comparison.pairs import by_name
from renorm_cli.comparison.plan import plan_comparison
from renorm_cli.errors import FormatError, SelectionError
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.difference import DiffReport, DiffRow
from renorm_cli.model.norm import PNorm
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.parallel.threads import threads
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request
from renorm_cli.plan.units import Units

Weights = dict[str, np.ndarray]


def wanted(
    limit: float | None = None, *include: str, p: float = 2.0, exclude: tuple[str, ...] = (), units: Any = None
) -> Request:
    return Request(OneBound(Constraint(limit, PNorm(p)), Units(units)), Selection(include, exclude))


def look(before: Path, after: Path, *include: str, **options: Any) -> DiffReport:
    """What `diff BEFORE AFTER` finds."""
    return diff(before, after, include=include, **options)


def judge(before: Path, after: Path, limit: float, *include: str, **options: Any) -> DiffReport:
    """What `diff BEFORE AFTER --expect-renorm --max-norm` finds."""
    return diff(before, after, expect_renorm=True, max_norm=limit, include=include, **options)


def verdicts(report: DiffReport) -> dict[str, str]:
    return {row.name: row.verdict for row in report.rows}


def row_of(report: DiffReport, name: str) -> DiffRow:
    (row,) = (row for row in report.rows if row.name == name)
    return row


@pytest.mark.slow
@pytest.mark.parametrize("entry", WHOLE, ids=lambda entry: str(entry["file"]))
def test_an_apply_of_a_sample_is_proven_and_only_what_was_over_changed(entry: dict[str, Any], tmp_path: Path) -> None:
    source, output = SAMPLES / entry["file"], tmp_path / entry["file"]
    bound(source, output)
    report = judge(source, output, MANIFEST["limit"])
    assert report.proven is True
    assert report.exit_code == 0
    over = {one["key"]: one["over"] for one in entry["constrained"] if one["over"]}
    changed = {row.before.key: row.changed_units for row in report.rows if row.before and row.verdict == "pure renorm"}
    assert changed == over
    assert report.totals["identical"] == entry["datasets"] - len(over)
    assert look(source, output).exit_code == 1
    assert look(source, output).renorm_only is True
    assert look(source, source).exit_code == 0


@pytest.mark.slow
@pytest.mark.filterwarnings(*keras_zoo.WARNINGS)
@pytest.mark.parametrize(
    "make",
    [
        tf_files.saver,
        lambda folder: tf_files.saver(folder, partitions=5),
        tf_files.object_checkpoint,
        tf_files.sharded,
        tf_files.module,
        tf_files.export,
    ],
    ids=["saver", "partitioned", "objects", "sharded", "module", "export"],
)
def test_an_apply_of_what_tensorflow_wrote_is_proven_with_its_strings_and_counters(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    source, output = make(tmp_path), tmp_path / "bounded" / "out"
    output.parent.mkdir()
    bound(source, output)
    report = judge(source, output, 1.0)
    assert report.proven is True
    assert report.totals["pure renorm"] >= 1
    assert report.totals["not compared"] == 0
    assert judge(source, output, 0.9).exit_code == 1


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A file and an apply of it with limit 1: a kernel, a bias, integers, an optimizer slot."""
    before, after = tmp_path / "before.h5", tmp_path / "after.h5"
    rng = np.random.default_rng(0)
    builders.write_h5(
        before,
        {
            "dense/kernel": builders.kernel((12, 8)),
            "dense/bias": rng.normal(size=8).astype("f4"),
            "up/kernel": builders.kernel((6, 4), seed=1, dtype=np.float64),
            "step": np.array([1, 2, 3], "i8"),
            "mask": np.array([True, False]),
            "waves": np.array([1 + 2j, 3j], "c16"),
            "rate": np.float32(0.5),
            "nothing": np.zeros((0, 3), "f4"),
        },
    )
    with h5py.File(before, "r+") as file:
        file["null"] = h5py.Empty("f4")
    bound(before, after)
    return before, after


def test_an_untouched_apply_is_proven(pair: tuple[Path, Path]) -> None:
    report = judge(*pair, 1.0)
    assert report.exit_code == 0
    assert report.totals["pure renorm"] == 2
    assert report.totals["identical"] == len(report.rows) - 2 == 7


def set_to(path: str, index: Any, value: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        array = file[path][()]
        array[index] = value(array[index]) if callable(value) else value
        file[path][...] = array

    return edit


def replaced(path: str, make: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        array = file[path][()]
        del file[path]
        file[path] = make(array)

    return edit


def flipped(path: str, place: int, bit: int) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        array = file[path][()]
        raw = array.reshape(-1).view(np.uint8)
        raw[place * array.itemsize + bit // 8] ^= 1 << bit % 8
        file[path][...] = array

    return edit


EDITS: dict[str, tuple[Callable[[h5py.File], None], str, str]] = {
    "a unit scaled up": (set_to("dense/kernel", (slice(None), 0), lambda unit: unit * 2), "dense/kernel", "other"),
    "a unit scaled up within the bound": (
        set_to("dense/kernel", (slice(None), 0), lambda unit: unit * np.float32(1.01)), "dense/kernel", "other",
    ),
    "a sign flipped": (set_to("dense/kernel", (3, 1), lambda one: -one), "dense/kernel", "other"),
    "a sign flipped in a unit that was within": (flipped("dense/kernel", 0, 31), "dense/kernel", "other"),
    "a unit turned": (set_to("dense/kernel", (slice(None), 1), lambda unit: unit[::-1]), "dense/kernel", "other"),
    "a weight halved": (set_to("dense/kernel", (3, 1), lambda one: one / 2), "dense/kernel", "other"),
    "a weight set to zero": (set_to("dense/kernel", (3, 1), 0), "dense/kernel", "other"),
    "a unit set to zero": (set_to("dense/kernel", (slice(None), 1), 0), "dense/kernel", "other"),
    "a bit of a weight up": (set_to("dense/kernel", (0, 0), lambda x: np.nextafter(x, 9 * x)), "dense/kernel", "other"),
    "four bits of a weight": (flipped("dense/kernel", 9, 2), "dense/kernel", "other"),
    "a weight made NaN": (set_to("dense/kernel", (2, 2), np.nan), "dense/kernel", "other"),
    "a float64 weight": (set_to("up/kernel", (2, 3), lambda one: one * (1 - 1e-14)), "up/kernel", "other"),
    "a bias": (flipped("dense/bias", 3, 0), "dense/bias", "other"),
    "all biases halved": (set_to("dense/bias", slice(None), lambda all: all / 2), "dense/bias", "other"),
    "an integer": (flipped("step", 2, 0), "step", "other"),
    "a boolean": (set_to("mask", 0, False), "mask", "other"),
    "an imaginary part": (set_to("waves", 1, 4j), "waves", "other"),
    "a scalar": (lambda file: file["rate"].__setitem__((), 0.25), "rate", "other"),
    "a variable missing": (lambda file: file.__delitem__("dense/bias"), "dense/bias", "missing"),
    "a variable added": (lambda file: file.create_dataset("more", data=[1.0]), "more", "added"),
    "a variable renamed": (lambda file: file.move("dense/bias", "dense/offset"), "dense/offset", "added"),
    "a link that is gone": (lambda file: file.__setitem__("tied", file["dense/bias"]), "dense/bias", "renamed"),
    "a shape": (replaced("dense/kernel", lambda array: array.reshape(8, 12)), "dense/kernel", "shape changed"),
    "a dtype": (replaced("dense/kernel", lambda array: array.astype("f8")), "dense/kernel", "dtype changed"),
    "an integer dtype": (replaced("step", lambda array: array.astype("i4")), "step", "dtype changed"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_any_other_edit_is_seen_and_the_renorm_is_not_proven(name: str, pair: tuple[Path, Path]) -> None:
    before, after = pair
    edit, variable, verdict = EDITS[name]
    with h5py.File(after, "r+") as file:
        edit(file)
    report = judge(before, after, 1.0)
    assert report.proven is False
    assert report.exit_code == look(before, after).exit_code == 1
    assert verdicts(report)[variable] == verdict
    wrong = [row for row in report.rows if row.verdict not in ("identical", "pure renorm")]
    assert {row.name for row in wrong} <= {variable, "dense/bias"}


def test_a_unit_above_the_bound_in_a_variable_that_changed_is_not_proven(pair: tuple[Path, Path]) -> None:
    before, after = pair
    with h5py.File(before) as one, h5py.File(after, "r+") as file:
        kernel = file["dense/kernel"][()]
        kernel[:, 1] = one["dense/kernel"][:, 1]
        file["dense/kernel"][...] = kernel
    report = judge(before, after, 1.0)
    row = row_of(report, "dense/kernel")
    assert (row.verdict, row.over, report.exit_code) == ("pure renorm", 1, 1)
    assert judge(before, after, 2.1).exit_code == 0


def test_a_unit_with_nan_that_was_left_alone_is_not_within_the_bound(tmp_path: Path) -> None:
    kernel = builders.kernel((12, 8))
    kernel[0, 0] = np.nan
    after = kernel.copy()
    after[:, 1] *= np.float32(0.25)
    builders.write_h5(tmp_path / "a.h5", {"dense/kernel": kernel})
    builders.write_h5(tmp_path / "b.h5", {"dense/kernel": after})
    report = judge(tmp_path / "a.h5", tmp_path / "b.h5", 3.0)
    assert (report.rows[0].verdict, report.rows[0].nonfinite, report.exit_code) == ("pure renorm", 1, 1)
    assert report.rows[0].norm_before is None
    assert judge(tmp_path / "a.h5", tmp_path / "a.h5", 3.0).exit_code == 0


def test_with_a_selection_only_what_it_names_is_compared_but_an_expected_renorm_covers_all(
    pair: tuple[Path, Path],
) -> None:
    before, after = pair
    with h5py.File(after, "r+") as file:
        flipped("dense/bias", 0, 0)(file)
    assert look(before, after, "step", "mask").exit_code == 0
    assert look(before, after, "step", "mask").totals["left out"] == 7
    assert look(before, after, exclude=("dense/*", "up/*")).exit_code == 0
    report = judge(before, after, 1.0, "*/kernel")
    assert verdicts(report)["dense/bias"] == "other"
    assert report.totals["left out"] == 0
    assert judge(before, after, 1.0, "dense/kernel").exit_code == 1  # up/kernel changed too, and was not selected
    with pytest.raises(SelectionError, match="matches none"):
        look(before, after, "nowhere/*")


def test_units_are_those_of_the_plan_or_of_the_option(tmp_path: Path) -> None:
    kernel = builders.kernel((5, 7), seed=3)
    builders.write_h5(tmp_path / "a.h5", {"dense/kernel": kernel, "words/embeddings": kernel})
    rows = (kernel * np.linspace(0.2, 0.9, 5, dtype="f4")[:, None]).astype("f4")
    builders.write_h5(tmp_path / "b.h5", {"dense/kernel": rows, "words/embeddings": rows})
    found = look(tmp_path / "a.h5", tmp_path / "b.h5")
    assert verdicts(found) == {"dense/kernel": "other", "words/embeddings": "pure renorm"}
    assert set(verdicts(look(tmp_path / "a.h5", tmp_path / "b.h5", units=(0,))).values()) == {"pure renorm"}
    assert set(verdicts(look(tmp_path / "a.h5", tmp_path / "b.h5", units=(1,))).values()) == {"other"}
    with pytest.raises(SelectionError, match="out of range"):
        look(tmp_path / "a.h5", tmp_path / "b.h5", units=(2,))


def test_a_scalar_that_is_selected_is_a_unit(pair: tuple[Path, Path]) -> None:
    before, after = pair
    for value, code in ((0.25, 0), (0.75, 1)):
        with h5py.File(after, "r+") as file:
            file["rate"][()] = value
        assert judge(before, after, 1.0, "*/kernel", "rate").exit_code == code


def convolution(path: Path, layer: str | None, kernel: np.ndarray) -> Path:
    """A file of one kernel; without a layer's class nothing tells the axes of its units."""
    if layer is None:
        builders.write_h5(path, {"up/kernel": kernel})
    else:
        config = builders.sequential_config([builders.layer_config(layer, "up", filters=4, kernel_size=[2, 2])])
        builders.write_legacy(path, {"up": {"kernel": kernel}}, config=config)
    return path


@pytest.mark.parametrize(
    ("before", "after", "axes", "verdict"),
    [
        ("Conv2DTranspose", "Conv2DTranspose", (2,), "pure renorm"),
        ("Conv2D", "Conv2D", (3,), "other"),
        ("Conv2D", "Conv2DTranspose", (3,), "other"),
        (None, "Conv2DTranspose", (3,), "other"),
        ("Conv2DTranspose", None, (2,), "pure renorm"),
        (None, None, (3,), "other"),
    ],
)
def test_the_first_file_tells_the_units_so_that_the_second_cannot_talk_its_changes_into_being_allowed(
    before: str | None, after: str | None, axes: tuple[int, ...], verdict: str, tmp_path: Path
) -> None:
    kernel = builders.kernel((2, 2, 4, 3), (2,))
    scaled = (kernel * np.linspace(0.2, 0.9, 4, dtype="f4")[:, None]).astype("f4")
    files = convolution(tmp_path / "a.h5", before, kernel), convolution(tmp_path / "b.h5", after, scaled)
    (row,) = judge(*files, 5.0).rows
    assert row.step is not None
    assert (row.step.unit_axes, row.verdict) == (axes, verdict)


def test_a_key_of_either_file_selects_the_pair() -> None:
    for key in ("model_weights/hidden/hidden/kernel", "layers/dense/vars/0", "hidden/kernel"):
        report = look(SAMPLES / "dense.h5", SAMPLES / "dense.keras", key)
        assert (report.exit_code, report.totals["identical"]) == (0, 1)
        report = look(SAMPLES / "dense.h5", SAMPLES / "dense.keras", "hidden/*", exclude=(key,))
        assert [row.name for row in report.rows if row.verdict == "identical"] == ["hidden/bias"]


@pytest.mark.slow
@pytest.mark.parametrize("block_bytes", [8, 36, 200, 1000])
@pytest.mark.parametrize(("shape", "unit_axes"), [((6, 50), (1,)), ((50, 6), (0,)), ((3, 4, 5, 6), (0, 2))])
def test_every_unit_is_judged_for_itself_however_the_tensor_is_cut(
    block_bytes: int, shape: tuple[int, ...], unit_axes: tuple[int, ...], tmp_path: Path
) -> None:
    """A third of the units is rounded to nearest, a third toward zero, a third untouched; then one is spoilt."""
    rng = np.random.default_rng(0)
    before = rng.normal(size=shape).astype("f4")
    grid = tuple(size if axis in unit_axes else 1 for axis, size in enumerate(shape))
    kind = np.broadcast_to(np.arange(np.prod(grid)).reshape(grid) % 3, shape)
    exact = before.astype("f8") * rng.uniform(0.1, 0.9, grid)
    nearest = exact.astype("f4")
    toward_zero = np.where(np.abs(nearest) > np.abs(exact), np.nextafter(nearest, np.float32(0)), nearest)
    after = np.select([kind == 0, kind == 1], [nearest, toward_zero], before).astype("f4")
    wish = wanted(100.0, "w", units=unit_axes)
    (row,) = compared(*in_files(tmp_path, {"w": before}, {"w": after}), wish, block_bytes, jobs=2).rows
    units = int(np.prod(grid))
    assert (row.verdict, row.changed_units) == ("pure renorm", units - units // 3)
    assert row.changed == np.count_nonzero(before != after)
    last = (-1,) * len(shape)
    after[last] *= np.float32(0.99)
    after[(0,) * len(shape)] *= np.float32(0.99)
    (row,) = compared(*in_files(tmp_path, {"w": before}, {"w": after}), wish, block_bytes, jobs=2).rows
    assert (row.verdict, row.foreign_units) == ("other", 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dense.h5", "dense.keras"),
        ("dense.keras", "dense.weights.h5"),
        ("dense.weights.json", "dense.h5"),
        ("dense.h5", "dense_keras2.h5"),
        ("dense_keras2_weights.h5", "deflated.keras"),
        ("nested.h5", "nested.keras"),
        ("recurrent.h5", "recurrent.weights.h5"),
    ],
)
def test_the_same_weights_in_another_format_are_identical_by_their_names(one: str, other: str) -> None:
    names = ("hidden/*", "digit/*") if one.startswith("dense") else ("*/kernel", "*/bias")
    report = look(SAMPLES / one, SAMPLES / other, *names)
    assert report.matched_by == "name"
    assert report.exit_code == 0
    assert report.totals["identical"] >= 4
    assert report.totals["identical"] + report.totals["left out"] == len(report.rows)


def test_a_deflated_archive_is_the_same_as_a_stored_one() -> None:
    report = look(SAMPLES / "dense.keras", SAMPLES / "deflated.keras")
    assert (report.matched_by, report.exit_code, report.totals["identical"]) == ("key", 0, 14)


@pytest.mark.slow
@pytest.mark.filterwarnings(*keras_zoo.WARNINGS)
def test_a_tensorflow_checkpoint_of_the_same_weights_is_identical_and_a_bounded_one_is_proven(tmp_path: Path) -> None:
    import tensorflow as tf

    weights = builders.two_dense()
    builders.write_v3(tmp_path / "a.weights.h5", builders.v3_layers(weights))
    variables = {
        f"{layer}_{name}": tf.Variable(array, name=f"{layer}/{name}")
        for layer, own in weights.items()
        for name, array in own.items()
    }
    prefix = Path(tf.train.Checkpoint(**variables).write(str(tmp_path / "ckpt")))
    assert look(tmp_path / "a.weights.h5", prefix, "hidden/*", "digit/*").exit_code == 0
    bound(prefix, tmp_path / "bounded")
    report = look(tmp_path / "a.weights.h5", tmp_path / "bounded", "hidden/*", "digit/*")
    assert report.renorm_only is True
    assert report.totals["pure renorm"] == 2
    assert judge(tmp_path / "a.weights.h5", tmp_path / "bounded", 1.0).exit_code == 1  # the graph is nowhere else


@pytest.mark.slow
@pytest.mark.filterwarnings(*keras_zoo.WARNINGS)
def test_stored_copies_of_one_weight_are_one_row_beside_the_only_one_elsewhere(tmp_path: Path) -> None:
    export = tf_files.export(tmp_path)
    report = look(export, export)
    assert report.exit_code == 0
    assert [len(row.copies) for row in report.rows if row.step is not None] == [1, 1]
    name = next(row.name for row in report.rows if row.step is not None)
    kernel = builders.two_dense()["hidden" if "hidden" in name else "digit"]["kernel"]
    builders.write_h5(tmp_path / "one.h5", {name: kernel})
    found = look(export, tmp_path / "one.h5", name)
    assert found.totals["identical"] == 1
    assert found.exit_code == 0


LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (5, 3)},
    "gzip": {"compression": "gzip", "shuffle": True, "chunks": (40, 2)},
    "userblock": {"userblock": 512},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "bfloat16", "<i4", ">u2", "?", "<c8", ">c16"])
def test_the_layout_and_the_byte_order_are_no_difference(name: str, dtype: str, tmp_path: Path) -> None:
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    values = (builders.kernel((64, 6)) * 100).astype(kind)
    native = values.copy() if dtype == "bfloat16" else values.astype(kind.newbyteorder("<"))
    builders.write_h5(tmp_path / "a.h5", {"dense/kernel": values})
    builders.write_h5(tmp_path / "b.h5", {"dense/kernel": native}, **LAYOUTS[name])
    assert look(tmp_path / "a.h5", tmp_path / "b.h5").exit_code == 0
    native[63, 5] = native[0, 0]
    builders.write_h5(tmp_path / "b.h5", {"dense/kernel": native}, **LAYOUTS[name])
    expected = int(values[63, 5] != values[0, 0])
    report = look(tmp_path / "a.h5", tmp_path / "b.h5")
    assert (report.exit_code, report.rows[0].changed) == (expected, expected)


def test_nan_payloads_and_negative_zeros_are_differences(tmp_path: Path) -> None:
    quiet = np.array([0x7FC00000, 0, 0x3F800000], "u4").view("f4")
    for changed in (0x7FC00001, 0x80000000):
        other = quiet.copy()
        other.view("u4")[0 if changed == 0x7FC00001 else 1] = changed
        builders.write_h5(tmp_path / "a.h5", {"bias": quiet})
        builders.write_h5(tmp_path / "b.h5", {"bias": other})
        report = look(tmp_path / "a.h5", tmp_path / "b.h5")
        assert (report.rows[0].verdict, report.rows[0].changed) == ("other", 1)
    builders.write_h5(tmp_path / "b.h5", {"bias": quiet})
    assert look(tmp_path / "a.h5", tmp_path / "b.h5").exit_code == 0


def test_what_cannot_be_compared_is_never_called_the_same(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["name"] = name
            file["dense/kernel"] = builders.kernel((4, 4))
            file["where"] = file["dense/kernel"].ref
            file.create_dataset("lists", (1,), h5py.vlen_dtype("f4"))[0] = [1, 2]
    report = look(tmp_path / "a.h5", tmp_path / "b.h5")
    assert (report.exit_code, report.same, report.totals["not compared"]) == (2, False, 2)
    assert all(row.reason for row in report.rows if row.verdict == "not compared")
    assert judge(tmp_path / "a.h5", tmp_path / "b.h5", 5.0).exit_code == 1
    assert look(tmp_path / "a.h5", tmp_path / "b.h5", "dense/*").exit_code == 0
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["dense/kernel"][0, 0] = 7
    assert look(tmp_path / "a.h5", tmp_path / "b.h5").exit_code == 1


def test_what_hdf5_holds_besides_numbers_is_compared_by_what_is_stored(tmp_path: Path) -> None:
    for name, last in (("a.h5", "two"), ("b.h5", "two"), ("c.h5", "tvo")):
        with h5py.File(tmp_path / name, "w") as file:
            if name == "b.h5":
                file["elsewhere"] = np.ones(100)
                del file["elsewhere"]
            file["dense/kernel"] = builders.kernel((4, 4))
            file["words"] = ["one", last]
            file.create_dataset(
                "lossy", data=builders.kernel((8, 4)) * len({last, "two"}), scaleoffset=3, chunks=(4, 4)
            )
            file.create_dataset("unwritten", (4,), "f4", fillvalue=len({last, "two"}))
    assert look(tmp_path / "a.h5", tmp_path / "b.h5").exit_code == 0
    report = look(tmp_path / "a.h5", tmp_path / "c.h5")
    assert (report.exit_code, report.totals["not compared"]) == (1, 0)
    assert [row.name for row in report.rows if row.verdict == "other"] == ["lossy", "unwritten", "words"]


@pytest.mark.slow
@pytest.mark.filterwarnings(*keras_zoo.WARNINGS)
def test_a_changed_string_of_a_tensorflow_checkpoint_is_seen(tmp_path: Path) -> None:
    import tensorflow as tf

    for name, words in (("a", ["one", "two"]), ("b", ["one", "tvo"]), ("c", ["one", "two"])):
        folder = tmp_path / name
        folder.mkdir()
        checkpoint = tf.train.Checkpoint(words=tf.Variable(words), dense=tf.Variable([1.0], name="dense"))
        checkpoint.write(str(folder / "ckpt"))
    assert look(tmp_path / "a" / "ckpt", tmp_path / "c" / "ckpt").exit_code == 0
    report = look(tmp_path / "a" / "ckpt", tmp_path / "b" / "ckpt")
    assert [row.before.dtype for row in report.rows if row.before and row.verdict == "other"] == ["string"]


def test_damage_is_told_and_no_renorm_is_proven_of_a_damaged_file(tmp_path: Path) -> None:
    source = tf_recorded.copied("prefix", tmp_path)
    data = next(tmp_path.glob("*.data-*"))
    raw = bytearray(data.read_bytes())
    raw[5] ^= 1
    (tmp_path / "other").mkdir()
    for file in tmp_path.glob("m.*"):
        shutil.copy(file, tmp_path / "other" / file.name)
    (tmp_path / "other" / data.name).write_bytes(bytes(raw))
    damaged = tmp_path / "other" / source.name
    assert any("damaged" in note.text and note.warning for note in look(source, damaged).notes)
    with pytest.raises(FormatError, match="is damaged"):
        judge(source, damaged, 1.0)


def test_unrelated_checkpoints_are_not_compared() -> None:
    with pytest.raises(SelectionError, match="has the name of one of"):
        look(SAMPLES / "dense.h5", SAMPLES / "embedding.keras")


def in_files(folder: Path, before: Weights, after: Weights) -> tuple[Path, Path]:
    builders.write_h5(folder / "before.h5", before)
    builders.write_h5(folder / "after.h5", after)
    return folder / "before.h5", folder / "after.h5"


def compared(before: Path, after: Path, wish: Request, block_bytes: int, jobs: int) -> DiffReport:
    with open_checkpoint(before) as one, open_checkpoint(after) as other, threads(jobs) as imap:
        plan = plan_comparison(one, other, wish.source, wish.selection, expected=True)
        return compare(one, other, plan, NumpyEngine(), expected=True, imap=imap, block_bytes=block_bytes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("property")


@st.composite
def kernels(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    unit_axes = tuple(axis for axis in range(len(shape)) if draw(st.booleans()))
    name = draw(st.sampled_from(["f2", "f4", ">f4", "f8", "bfloat16"]))
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    values = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).standard_normal(shape)
    return (values * draw(st.sampled_from([0.1, 1.0, 30.0]))).astype(dtype), unit_axes


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(
    kernel=kernels(),
    limit=st.floats(0.05, 20.0),
    p=st.sampled_from([1.0, 2.0, 3.0, np.inf]),
    block_bytes=st.sampled_from([8, 40, 1 << 20]),
)
def test_a_renorm_by_the_oracle_rounded_to_nearest_is_a_pure_one(
    kernel: tuple[np.ndarray, tuple[int, ...]], limit: float, p: float, block_bytes: int, folder: Path
) -> None:
    before, unit_axes = kernel
    over = oracle.over(before, unit_axes, limit, p)
    others = tuple(axis for axis in range(before.ndim) if axis not in unit_axes)
    scaled = np.broadcast_to(np.expand_dims(over, others), before.shape)
    after = np.where(scaled, oracle.renorm(before, unit_axes, limit, p).astype(before.dtype), before)
    after = after.astype(before.dtype)
    files = in_files(folder, {"w": before}, {"w": after})
    report = compared(*files, wanted(limit, "w", p=p, units=unit_axes or None), block_bytes, jobs=2)
    (row,) = report.rows
    if not unit_axes and before.ndim > 1:
        return  # the plan guesses the axes of a kernel of which nothing is known
    changed = before.tobytes() != after.tobytes()
    assert row.verdict == ("pure renorm" if changed else "identical")
    largest = np.abs(after.astype("f8") - before.astype("f8")).max()
    assert row.largest_change == largest
    assert row.norm_before == pytest.approx(np.linalg.norm(before.astype("f8").ravel()), rel=1e-12)
    assert row.norm_after == pytest.approx(np.linalg.norm(after.astype("f8").ravel()), rel=1e-12)
    assert row.unit_norm_before == pytest.approx(oracle.unit_norms(before, unit_axes, p).max(), rel=1e-12)
    assert row.unit_norm_after == pytest.approx(oracle.unit_norms(after, unit_axes, p).max(), rel=1e-12)
    assert row.over == np.count_nonzero(
        oracle.unit_norms(after, unit_axes, p) > limit * (1 + 5e-13 * (after.itemsize == 8))
    )
    assert report == compared(*files, wanted(limit, "w", p=p, units=unit_axes or None), block_bytes, jobs=1)


def test_each_unit_may_be_rounded_in_its_own_way(tmp_path: Path) -> None:
    before = np.random.default_rng(0).normal(size=(64, 2)).astype("f4")
    exact = before.astype("f8") * (91 / 128)
    nearest = exact.astype("f4")
    cut = np.where(np.abs(nearest) > np.abs(exact), np.nextafter(nearest, np.float32(0)), nearest)
    assert (cut != nearest).any(axis=0).all()
    for order in (1, -1):
        np.savez(tmp_path / "new.npz", **{"dense/kernel": np.stack((cut[:, 0], nearest[:, 1])[::order], 1)})
        np.savez(tmp_path / "old.npz", **{"dense/kernel": before[:, ::order]})
        assert diff(tmp_path / "old.npz", tmp_path / "new.npz").totals["pure renorm"] == 1


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(
    kernel=kernels(), place=st.integers(0, 200), by=st.sampled_from([-1.0, 0.0, 0.9, 1.1, 2.0]), jobs=st.integers(1, 2)
)
def test_another_edit_of_one_weight_is_another_change_unless_its_unit_is_that_weight(
    kernel: tuple[np.ndarray, tuple[int, ...]], place: int, by: float, jobs: int, folder: Path
) -> None:
    before, _ = kernel
    unit_axes = (before.ndim - 1,)
    after = before.copy().reshape(-1)
    after[place % after.size] *= np.asarray(by, dtype=after.dtype)
    after = after.reshape(before.shape)
    alone = before.size == before.shape[-1]
    files = in_files(folder, {"w": before}, {"w": after})
    (row,) = compared(*files, wanted(1e4, "w", units=unit_axes), 16, jobs).rows
    if before.tobytes() == after.tobytes():
        assert row.verdict == "identical"
    elif alone:
        assert row.verdict == ("pure renorm" if by == 0.9 else "other")
    else:
        assert (row.verdict, row.changed, row.changed_units, row.foreign_units) == ("other", 1, 1, 1)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    paths = tmp_path / "a.h5", tmp_path / "b.h5"
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(1 << 12, 1 << 12)).astype("f4")
    for path in paths:
        with h5py.File(path, "w") as file:
            file["dense/kernel"] = kernel
            file["words/embeddings"] = kernel[:256]
        kernel *= np.float32(0.5)
    del kernel
    wish = wanted(1e3)
    with open_checkpoint(paths[0]) as one, open_checkpoint(paths[1]) as other:
        plan = plan_comparison(one, other, wish.source, wish.selection, expected=True)
        tracemalloc.start()
        report = compare(one, other, plan, NumpyEngine(), expected=True, block_bytes=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert set(verdicts(report).values()) == {"pure renorm"}
    assert report.proven is True
    assert peak < 16 << 20


def test_an_array_that_is_stored_as_its_transpose_is_another_one(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(5, 5))
    bounded = array * np.minimum(1, 1 / np.linalg.norm(array, axis=0))
    for name, weights in {
        "a": array,
        "transposed": np.asfortranarray(array.T),
        "bounded": np.asfortranarray(bounded.T),
        "c": np.asfortranarray(bounded),
    }.items():
        np.savez(tmp_path / f"{name}.npz", **{"d/kernel": weights, "d/bias": np.zeros(5)})
    assert not np.array_equal(np.load(tmp_path / "transposed.npz")["d/kernel"], array)
    for name in ("transposed", "bounded", "c"):
        for report in (
            look(tmp_path / "a.npz", tmp_path / f"{name}.npz"),
            judge(tmp_path / "a.npz", tmp_path / f"{name}.npz", 1.0, units=(1,)),
        ):
            row = row_of(report, "d/kernel")
            assert (row.verdict, report.exit_code) == ("shape changed", 1), name
            assert row.reason == "stored in the order of axes [0, 1], and now in [1, 0]"


def test_a_2_norm_beyond_float64_that_nobody_asked_for_is_left_out(tmp_path: Path) -> None:
    for name, scale in (("a", 1.5e308), ("b", 0.75e308)):
        np.savez(tmp_path / f"{name}.npz", **{"d/kernel": np.full((4, 3), scale), "d/bias": np.full(12, scale)})
    report = look(tmp_path / "a.npz", tmp_path / "b.npz", p=np.inf)
    for name in ("d/kernel", "d/bias"):
        found = row_of(report, name)
        assert (found.norm_before, found.norm_after, found.changed) == (None, None, 12)
    found = row_of(report, "d/kernel")
    assert (found.verdict, found.unit_norm_before, found.unit_norm_after) == ("pure renorm", 1.5e308, 0.75e308)


def test_a_renorm_by_a_factor_that_is_no_float64_is_proven_and_only_that(tmp_path: Path) -> None:
    before = np.random.default_rng(0).standard_normal((6, 4)) * [1e307, 1, 1e-300, 1e300]
    np.savez(tmp_path / "before.npz", **{"d/kernel": before})
    bound(tmp_path / "before.npz", tmp_path / "after.npz", limit=1e-20)
    assert judge(tmp_path / "before.npz", tmp_path / "after.npz", 1e-20).proven is True
    for unit in range(4):
        after = np.load(tmp_path / "after.npz")["d/kernel"]
        after[2, unit] *= 1 - 1e-9
        np.savez(tmp_path / "other.npz", **{"d/kernel": after})
        assert judge(tmp_path / "before.npz", tmp_path / "other.npz", 1e-20).proven is False


def test_each_stored_copy_of_a_weight_is_beside_its_own_or_the_only_one() -> None:
    def stored(*keys: str) -> list[Variable]:
        return [Variable("w", key, (2,), "float32", copies=tuple(one for one in keys if one != key)) for key in keys]

    def pairs(before: list[Variable], after: list[Variable]) -> list[tuple[str | None, str | None]]:
        return [(pair.before and pair.before.key, pair.after and pair.after.key) for pair in by_name(before, after)]

    one, two = stored("a"), stored("b", "c")
    assert pairs(one, two) == [("a", "b"), ("a", "c")]
    assert pairs(two, one) == [("b", "a"), ("c", "a")]
    assert pairs(two, stored("d", "e")) == [("b", "d"), ("c", "e")]
