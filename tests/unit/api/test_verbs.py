"""The verbs in Python do what the command line does, judged by its JSON; and what they refuse."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from support import builders, oracle, torch_files
from support import small_checkpoints as small
from support.cli import renorm_here
from support.places import DATA, SAMPLES

from renorm_cli.api import verbs
from renorm_cli.errors import FormatError, NonFiniteError, OutputError, RenormError, UsageError
from renorm_cli.formats.registry import locate
from renorm_cli.render.data.diff_record import render_diff_json
from renorm_cli.render.data.json_report import render_json
from renorm_cli.render.data.suggest_record import render_suggest_json
from renorm_cli.run import provenance
from renorm_cli.storage import journal
from renorm_cli.storage.temporaries import temporary_of

Capture = pytest.CaptureFixture[str]
DENSE = str(SAMPLES / "dense.h5")


def same(printed: str, made: str) -> None:
    one, other = json.loads(printed), json.loads(made)
    for record in (one, other):
        record.pop("seconds")
        record.pop("provenance", None)
    assert one == other


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ((), {}),
        (("--max-norm", "1", "--p", "inf"), {"max_norm": 1, "p": float("inf")}),
        (("--units", "-1"), {"units": -1}),
        (("--units", "0,1"), {"units": (0, 1)}),
        (("--units", "0,1"), {"units": "0,1"}),
        (("-i", "hidden/*", "-x", "*/bias"), {"include": "hidden/*", "exclude": ["*/bias"]}),
        (("--per", "tensor", "--max-norm", "2.5"), {"per": "tensor", "max_norm": 2.5}),
    ],
)
def test_inspect_and_check_report_what_the_command_line_does(
    options: tuple[str, ...], asked: dict[str, Any], capfd: Capture
) -> None:
    same(
        renorm_here(capfd, "inspect", DENSE, "--format", "json", *options).stdout,
        "".join(render_json([verbs.inspect(DENSE, **asked)])),
    )
    if "max_norm" in asked:
        done = renorm_here(capfd, "check", DENSE, "--format", "json", *options)
        found = verbs.check(Path(DENSE), **asked)
        same(done.stdout, "".join(render_json([found])))
        assert found.holds == (done.returncode == 0)


def test_diff_and_suggest_report_what_the_command_line_does(capfd: Capture) -> None:
    other = str(SAMPLES / "dense.keras")
    done = renorm_here(capfd, "diff", DENSE, other, "-i", "*/kernel", "--format", "json")
    same(done.stdout, "".join(render_diff_json(verbs.diff(DENSE, other, include="*/kernel"))))
    done = renorm_here(capfd, "suggest", DENSE, "--clip", "5%", "--format", "json")
    for clip in ("5%", 0.05, "0.05"):
        same(done.stdout, "".join(render_suggest_json([verbs.suggest(DENSE, clip=clip)])))


def test_apply_writes_an_output_within_the_bound_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copy(DENSE, path)
    report = verbs.apply(path, max_norm=1)
    assert report.output == str(tmp_path / "model-renorm.h5")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model-renorm.h5", "model.h5"]
    with h5py.File(report.output) as file:
        for row in report.rows:
            kernel = file[row.step.variable.key][:]
            assert (oracle.unit_norms(kernel, row.step.unit_axes) <= 1).all()
    assert verbs.check(report.output, max_norm=1).holds
    assert verbs.diff(path, report.output, expect_renorm=True, max_norm=1).exit_code == 0


def test_a_dry_run_writes_its_companions_and_no_output(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    report = verbs.apply(
        DENSE,
        tmp_path / "out.h5",
        max_norm=1,
        dry_run=True,
        companions=lambda report: {note: [str(report.totals.over).encode()]},
    )
    assert note.read_text() == str(report.totals.over)
    assert [one.name for one in tmp_path.iterdir()] == ["note.txt"]


def test_companions_that_fail_leave_no_output(tmp_path: Path) -> None:
    def fails(report: object) -> Any:
        raise OutputError("no")

    with pytest.raises(OutputError, match="no"):
        verbs.apply(DENSE, tmp_path / "out.h5", max_norm=1, companions=fails)
    assert list(tmp_path.iterdir()) == []


def test_open_gives_the_variables_of_the_file_and_their_values() -> None:
    with verbs.open(DENSE) as checkpoint, h5py.File(DENSE) as file:
        for variable in checkpoint.variables:
            assert np.array_equal(checkpoint.read(variable), file[variable.key][()])


def test_a_variable_under_a_lossy_filter_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "lossy.h5", "w") as file:
        file.create_dataset("kernel", data=np.ones((4, 4), np.float32), chunks=(4, 4), scaleoffset=2)
    with verbs.open(tmp_path / "lossy.h5") as checkpoint, pytest.raises(FormatError, match="'kernel' is not readable"):
        checkpoint.read(checkpoint.variables[0])


def test_the_variable_of_a_row_is_read() -> None:
    (row, *_) = verbs.inspect(DENSE).rows
    with verbs.open(DENSE) as checkpoint, h5py.File(DENSE) as file:
        assert np.array_equal(checkpoint.read(row.variable), file[row.variable.key][()])


def test_rules_and_a_baseline_may_be_read_before(tmp_path: Path) -> None:
    from renorm_cli.gate.stored_report import read_stored
    from renorm_cli.plan.rules_toml import read_rules

    rules, baseline = tmp_path / "r.toml", tmp_path / "b.json"
    rules.write_text('[[rule]]\nmatch = "hidden/*"\nmax_norm = 1\n')
    baseline.write_text("".join(render_json([verbs.inspect(DENSE)])))
    assert verbs.inspect(DENSE, rules=read_rules(rules)) == verbs.inspect(DENSE, rules=str(rules))
    once = verbs.check(DENSE, baseline=read_stored(baseline), max_growth="1%")
    assert once == verbs.check(DENSE, baseline=baseline, max_growth=0.01)
    assert once.holds


NONSENSE: dict[str, Callable[[], object]] = {
    "no bound": partial(verbs.check, DENSE),
    "no bound to apply": partial(verbs.apply, DENSE),
    "no bound to expect": partial(verbs.diff, DENSE, DENSE, expect_renorm=True),
    "a bound below zero": partial(verbs.inspect, DENSE, max_norm=-1),
    "no p": partial(verbs.inspect, DENSE, p=0),
    "an unknown per": partial(verbs.inspect, DENSE, per="layer"),
    "a per of another verb": partial(verbs.diff, DENSE, DENSE, per="global"),
    "units that are no axes": partial(verbs.inspect, DENSE, units="x"),
    "units that are no integers": partial(verbs.inspect, DENSE, units=[0.5]),
    "units that are a number": partial(verbs.inspect, DENSE, units=0.5),
    "an unknown engine": partial(verbs.inspect, DENSE, engine="torch"),
    "an unknown device": partial(verbs.inspect, DENSE, device="tpu"),
    "no jobs": partial(verbs.inspect, DENSE, jobs=0),
    "jobs that are no number": partial(verbs.inspect, DENSE, jobs="2"),
    "half a job": partial(verbs.inspect, DENSE, jobs=1.5),
    "a bound that is no number": partial(verbs.inspect, DENSE, max_norm="much"),
    "a p that is no number": partial(verbs.suggest, DENSE, p=None),
    "a pattern that is a number": partial(verbs.inspect, DENSE, include=3),
    "patterns that are numbers": partial(verbs.inspect, DENSE, exclude=[3]),
    "what to do with NaN": partial(verbs.apply, DENSE, max_norm=1, nonfinite="zero"),
    "two places": partial(verbs.apply, DENSE, "out.h5", max_norm=1, in_place=True),
    "growth since nothing": partial(verbs.check, DENSE, max_norm=1, max_growth=0.1),
    "growth without a unit": partial(verbs.check, DENSE, baseline="gone.json", max_growth=5),
    "all clipped": partial(verbs.suggest, DENSE, clip=1.0),
}


@pytest.mark.parametrize("call", NONSENSE.values(), ids=NONSENSE)
def test_what_makes_no_sense_is_a_usage_error_of_one_line_without_an_option(
    call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "baseline" in getattr(call, "keywords", {}):
        Path("gone.json").write_text("".join(render_json([verbs.inspect(DENSE)])))
    with pytest.raises(UsageError) as error:
        call()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.h5"))


def test_a_comparison_without_a_bound_asks_for_what_it_takes() -> None:
    with pytest.raises(UsageError) as error:
        verbs.diff(DENSE, DENSE, expect_renorm=True)
    assert str(error.value) == "a bound is needed; give one with max_norm="


def test_nan_is_refused_and_says_so_before_anything_is_written(tmp_path: Path) -> None:
    weights = builders.two_dense()
    weights["hidden"]["kernel"][0, 0] = float("nan")
    builders.write_v3(tmp_path / "nan.weights.h5", builders.v3_layers(weights))
    with pytest.raises(NonFiniteError, match="hidden/kernel"):
        verbs.apply(tmp_path / "nan.weights.h5", max_norm=1)
    assert [one.name for one in tmp_path.iterdir()] == ["nan.weights.h5"]


def test_an_existing_output_is_replaced_with_force_only(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    out.write_text("mine")
    with pytest.raises(RenormError, match="exists; give another with output=, or replace it with force=True"):
        verbs.apply(DENSE, out, max_norm=1)
    assert out.read_text() == "mine"
    verbs.apply(DENSE, out, max_norm=1, force=True)
    assert verbs.check(out, max_norm=1).holds


def torch_index(folder: Path) -> Path:
    arrays = {"a.weight": builders.kernel((6, 5)), "b.weight": builders.kernel((4, 6))}
    names = {key: f"m-{number}.bin" for number, key in enumerate(arrays)}
    for key, name in names.items():
        torch_files.write_torch(folder / name, {key: arrays[key]})
    index = folder / "m.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


LINKED: dict[str, small.Make] = {name: small.FORMATS[name] for name in small.MULTIPLE if name != "v1"}


@pytest.mark.parametrize("make", [*LINKED.values(), torch_index], ids=[*LINKED, "torch shards"])
def test_in_place_through_a_link_the_files_that_the_checkpoint_names_are_replaced_and_no_others(
    make: small.Make, tmp_path: Path
) -> None:
    direct, linked, aside = tmp_path / "direct", tmp_path / "linked", tmp_path / "aside"
    for folder in (direct, linked, aside):
        folder.mkdir()
    verbs.apply(make(direct), max_norm=0.5, in_place=True)
    main = locate(make(linked)).index
    links = [folder / f"l{''.join(main.suffixes)}" for folder in (linked, aside)]
    (aside / main.name).write_bytes(b"of another checkpoint")  # the link leads to the one that is meant
    for link in links:
        link.symlink_to(main)
        verbs.apply(link, max_norm=0.5, in_place=True)
    assert all(link.is_symlink() for link in links)
    found = small.content(linked)
    found.pop(links[0].name)
    assert found == small.content(direct)
    assert small.content(aside).pop(main.name) == b"of another checkpoint"
    assert len(list(aside.iterdir())) == 2
    for name in small.content(direct):
        (aside / name).write_bytes(b"another")
    with pytest.raises(OutputError, match="beside it is no file of what it leads to"):
        verbs.apply(links[1], max_norm=0.25, in_place=True)
    assert small.content(linked).items() >= small.content(direct).items()


NAMING: dict[str, small.Make] = {
    name: LINKED[name] for name in ("shards", "safetensors shards", "onnx with data", "tfjs")
}


@pytest.mark.parametrize("make", [*NAMING.values(), torch_index], ids=[*NAMING, "torch shards"])
def test_in_place_refuses_a_checkpoint_whose_files_another_one_names_too(make: small.Make, tmp_path: Path) -> None:
    index = locate(make(tmp_path)).index
    other = index.with_name(f"other{''.join(index.suffixes)}")
    shutil.copy(index, other)
    before = small.content(tmp_path)
    with pytest.raises(OutputError, match=f"'.*{other.name}' names files of '.*{index.name}' too"):
        verbs.apply(index, max_norm=0.5, in_place=True)
    assert small.content(tmp_path) == before
    names = [path.name for path in tmp_path.iterdir() if path not in (index, other)]
    content = index.read_bytes()
    for name in names:
        content = content.replace(name.encode(), bytes(reversed(name.encode())))  # of one length, as ONNX tells it
    other.write_bytes(content)
    verbs.apply(index, max_norm=0.5, in_place=True)
    assert small.content(tmp_path) != before


@pytest.mark.parametrize("make", [*NAMING.values(), torch_index], ids=[*NAMING, "torch shards"])
def test_in_place_takes_what_a_killed_run_left_for_no_checkpoint(make: small.Make, tmp_path: Path) -> None:
    index = locate(make(tmp_path)).index
    shutil.copy(index, temporary_of(index))
    before = small.content(tmp_path)
    verbs.apply(index, max_norm=0.5, in_place=True)
    assert small.content(tmp_path) != before
    assert small.temporaries(tmp_path) == []


def test_a_folder_of_a_model_is_read_without_what_a_killed_run_left_in_it(tmp_path: Path) -> None:
    model = small.FORMATS["model folder"](tmp_path)
    left = temporary_of(model / "model-00001-of-00002.safetensors")
    left.write_bytes(b"half of it")
    report = verbs.apply(model, max_norm=0.5)
    assert not any("further weights" in note.text for note in report.notes)
    assert small.temporaries(tmp_path) == [left.name]


@pytest.mark.parametrize("kind", ["plain hdf5", "safetensors shards"])
def test_of_two_runs_in_place_at_a_time_the_later_one_does_not_undo_the_earlier(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier one gives its files their names while the later one flushes what it wrote."""
    model = small.FORMATS[kind](tmp_path)
    flush = os.fsync
    began: list[int] = []

    def flush_late(fd: int) -> None:
        began.append(fd)
        if len(began) == 1:
            verbs.apply(model, max_norm=0.25, in_place=True)
        flush(fd)

    monkeypatch.setattr(os, "fsync", flush_late)
    with pytest.raises(FormatError, match="changed while it was read"):
        verbs.apply(model, max_norm=0.5, in_place=True)
    assert len(began) > 1
    assert verbs.check(model, max_norm=0.25).holds
    assert small.temporaries(tmp_path) == []


def test_what_a_killed_run_half_published_is_replaced_without_force(tmp_path: Path) -> None:
    index = small.FORMATS["safetensors shards"](tmp_path)
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / index.name
    verbs.apply(index, output, max_norm=0.5)
    names = [path.name for path in output.parent.iterdir() if path != output]
    moves = [(output.with_name(f".renorm-1-abcd-{name}"), output.with_name(name)) for name in (*names, output.name)]
    for temporary, target in moves:
        target.rename(temporary)
    journal.begin(moves)
    verbs.apply(index, output, max_norm=0.25)
    assert verbs.check(output, max_norm=0.25).holds
    assert small.temporaries(output.parent) == []


def test_in_place_refuses_a_file_that_an_index_names_whatever_it_is_called(tmp_path: Path) -> None:
    index = torch_index(tmp_path)
    with pytest.raises(OutputError, match=r"m\.bin\.index\.json' names files of '.*m-0\.bin' too"):
        verbs.apply(tmp_path / "m-0.bin", max_norm=0.5, in_place=True)
    index.unlink()
    verbs.apply(tmp_path / "m-0.bin", max_norm=0.5, in_place=True)


def test_the_notes_of_a_report_advise_in_the_words_of_python(tmp_path: Path) -> None:
    for name, scale in (("a.h5", 1), ("b.h5", 2)):
        builders.write_h5(tmp_path / name, {"mystery/kernel": builders.kernel((4, 5, 6)) / scale})
    (record,) = json.loads("".join(render_diff_json(verbs.diff(tmp_path / "a.h5", tmp_path / "b.h5"))))["notes"]
    assert record["text"].endswith("a guess from the shape; say them with units=")


class Passes:
    """A meter that keeps what it is told: the pass, the bytes that lie ahead, the bytes done."""

    def __init__(self) -> None:
        self.told: list[list[Any]] = []

    def start(self, total: int, doing: str) -> None:
        self.told.append([doing, total, 0])

    def advance(self, nbytes: int) -> None:
        self.told[-1][2] += nbytes


@pytest.mark.parametrize("name", ["dense.h5", "dense.keras", "bfloat16.keras"])
def test_a_meter_is_told_of_each_pass_and_of_the_bytes_of_the_file_itself(name: str, tmp_path: Path) -> None:
    meter, source = Passes(), SAMPLES / name
    verbs.apply(source, tmp_path / name, max_norm=1, meter=meter)
    (doing, total, done), (then, left, compared) = meter.told
    assert (doing, total, done) == ("writing", source.stat().st_size, total)
    assert (then, compared) == ("verifying", left)
    assert 0 < left < total
    meter = Passes()
    report = verbs.check(source, max_norm=1, meter=meter)
    size = 2 if name == "bfloat16.keras" else 4
    read = sum(size * int(np.prod(row.variable.shape)) for row in report.rows)
    assert meter.told == [["reading", read, read]]


def test_a_report_says_when_it_was_made_of_which_bytes_and_by_what(capfd: Capture) -> None:
    made = verbs.check(DENSE, max_norm=1).to_dict()["provenance"]
    assert made["sha256"] == hashlib.sha256(Path(DENSE).read_bytes()).hexdigest()
    assert made["versions"].keys() - {"tensorflow"} == {"python", "numpy"}
    assert made["versions"]["numpy"] == np.__version__
    started = datetime.strptime(made["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(started - datetime.now(UTC)) < timedelta(minutes=5)
    assert made["command"] is None
    printed = renorm_here(capfd, "check", DENSE, "--max-norm", "1", "-x", "a b*", "-i", "hidden/*", "--format", "json")
    assert printed.returncode == 2  # nothing is called so
    printed = renorm_here(capfd, "inspect", DENSE, "-x", "digit/*", "--format", "json")
    assert (
        json.loads(printed.stdout)["provenance"]["command"] == f"renorm-ckpt inspect {DENSE} -x 'digit/*' --format json"
    )


def test_of_a_large_checkpoint_and_of_several_files_no_sum_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verbs.inspect(SAMPLES / "dense.weights.json").to_dict()["provenance"]["sha256"] is None
    monkeypatch.setattr(provenance, "HASHED", 100)
    assert verbs.inspect(DENSE).to_dict()["provenance"]["sha256"] is None


@pytest.mark.parametrize("module", [None, ModuleType("tensorflow")], ids=["kept from import", "being imported"])
def test_a_library_that_is_there_in_part_has_no_version(
    module: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    report = verbs.inspect(DENSE, engine="numpy")
    assert dict(report.provenance.versions).keys() == {"python", "numpy"}


@pytest.mark.parametrize("look", [(Path, "exists"), (os, "scandir")], ids=["search", "read"])
def test_an_output_that_would_replace_a_folder_that_may_not_be_looked_into_is_refused(
    look: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    real = getattr(*look)

    def denied(path: Any) -> Any:
        if there in (Path(path), Path(path).parent):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(*look, denied)
    with pytest.raises(OutputError, match="there' cannot be looked at: Permission denied; give another with output="):
        verbs.apply(DATA / "tensorflow" / "saved-model" / "module", max_norm=1, output=there, force=True)
    monkeypatch.undo()
    assert list(there.iterdir()) == []
