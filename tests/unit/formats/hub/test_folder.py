"""Folders of a model as Hugging Face lays them out: what an output holds, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, tensor_files
from support.cli import renorm_here
from support.files import agrees, bound, look

from renorm_cli.api.verbs import check, diff
from renorm_cli.errors import FormatError, OutputError
from renorm_cli.formats.registry import locate, open_checkpoint
from renorm_cli.storage.staging import Staging

ARRAYS = {"fc.weight": builders.kernel((6, 4), (0,)), "fc.bias": np.full(6, 3.0, np.float32)}
OTHERS = {"config.json": b"{}", "tokenizer.json": b"[1]", "onnx/model.onnx": b"none", ".hidden/x": b"y"}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of a model in one file."""
    return _folder(tmp_path / "model", lambda folder: _write(folder / "model.safetensors"))


def _write(path: Path, scale: float = 1.0) -> None:
    tensor_files.write_safetensors(path, {name: array * np.float32(scale) for name, array in ARRAYS.items()})


def _folder(folder: Path, write: Callable[[Path], object]) -> Path:
    for name, content in OTHERS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write(folder)
    return folder


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_output_of_a_folder_is_a_folder_beside_it_that_has_every_other_file(model: Path) -> None:
    before = _content(model)
    report = bound(model, None)
    out = model.with_name("model-renorm")
    assert (report.path, report.output, report.format) == (str(model), str(out), "safetensors")
    assert _content(model) == before
    after = _content(out)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"model.safetensors"}
    agrees(ARRAYS["fc.weight"], tensor_files.read_safetensors(out / "model.safetensors")["fc.weight"], (0,), 1.0)
    assert diff(model, out, expect_renorm=True, max_norm=1.0).proven


@pytest.mark.parametrize("name", ["config.json", ".hidden/x"])
def test_a_proof_covers_every_file_in_the_folder(name: str, model: Path) -> None:
    bound(model, None)
    (model.with_name("model-renorm") / name).write_bytes(b"other")
    found = diff(model, model.with_name("model-renorm"), expect_renorm=True, max_norm=1.0)
    assert not found.proven
    assert [(row.name, row.verdict) for row in found.context or ()] == [(f"the file {name!r}", "changed")]


@pytest.mark.parametrize("single", [True, False])
def test_a_file_that_ends_as_the_weights_do_gets_these_alone(single: bool, tmp_path: Path) -> None:
    name, ending = ("model.safetensors", ".safetensors") if single else (INDEX, ".safetensors.index.json")
    write = _write if single else lambda path: tensor_files.write_index(path, tensor_files.halves(ARRAYS))
    model = _folder(tmp_path / "model", lambda folder: write(folder / name))
    out = tmp_path / "out" / f"new{ending}"
    out.parent.mkdir()
    report = bound(model, out)
    assert report.path == str(model / name)
    assert tensor_files.read_safetensors(out).keys() == ARRAYS.keys()
    assert not any((out.parent / other).exists() for other in OTHERS)


def test_a_name_of_a_file_of_another_kind_is_no_folder(tmp_path: Path) -> None:
    shards = tensor_files.halves(ARRAYS)
    model = _folder(tmp_path / "model", lambda folder: tensor_files.write_index(folder / INDEX, shards))
    with pytest.raises(
        OutputError, match=r"'.*/out.safetensors' is named as a file of another kind than '.*index.json'"
    ):
        bound(model, tmp_path / "out.safetensors")
    (tmp_path / "out.safetensors").mkdir()
    bound(model, tmp_path / "out.safetensors", force=True)
    assert look(tmp_path / "out.safetensors").format == "safetensors-index"


def test_in_place_replaces_the_weights_alone_and_links_in_the_folder_stay(model: Path) -> None:
    (model / "latest").symlink_to("onnx")
    before, kept = _content(model), (model / "config.json").stat()
    bound(model, None, in_place=True)
    after = _content(model)
    assert {name for name in before if after[name] != before[name]} == {"model.safetensors"}
    assert (model / "config.json").stat().st_ino == kept.st_ino
    assert (model / "latest").is_symlink()


def test_in_place_a_folder_has_the_warnings_and_the_place_of_the_report_that_folders_have(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (model / "latest").symlink_to("onnx")
    (model / ".renorm-1-ab-model.safetensors").write_bytes(b"half")
    before = _content(model).keys()
    done = renorm_here(capfd, "apply", str(model), "--max-norm", "1", "--in-place", "-q")
    assert done.returncode == 0
    assert "'onnx/model.onnx': further weights in the folder" in done.stderr
    assert "safetensors" not in done.stderr
    assert _content(model).keys() == before - {".renorm-1-ab-model.safetensors"}
    assert sorted(path.name for path in model.parent.iterdir()) == ["model", "model.report.json"]
    again = renorm_here(capfd, "apply", str(model), "--max-norm", "1", "--in-place", "-q")
    assert again.returncode == 0


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("config.json"), os.mkfifo])
def test_a_folder_with_a_link_or_a_special_file_is_read_and_not_copied(
    make: Callable[[Path], Any], model: Path
) -> None:
    bound(model, None)
    out = model.with_name("model-renorm")
    make(model / "onnx" / "odd")
    assert len(look(model).rows) == 1
    assert check(model, max_norm=1.0).verdict == "violated"
    assert [row.verdict for row in diff(model, out).rows] == ["pure renorm", "identical"]
    for dry_run in (True, False):
        with pytest.raises(FormatError, match=r"holds 'onnx/odd'.*; or give '.*/model.safetensors' alone"):
            bound(model, model.with_name("new"), dry_run=dry_run)
    assert sorted(path.name for path in model.parent.iterdir()) == ["model", "model-renorm"]
    assert len(look(model / "model.safetensors").rows) == 1


def test_a_proof_does_not_cover_a_link(model: Path) -> None:
    out = model.with_name("model-renorm")
    bound(model, None)
    for folder, verdict in ((model, "missing"), (out, "not compared")):
        (folder / "odd").symlink_to("config.json")
        found = diff(model, out, expect_renorm=True, max_norm=1.0)
        assert not found.proven
        assert [(row.name, row.verdict) for row in found.context or ()] == [("the file 'odd'", verdict)]


def test_a_warning_names_further_weights_that_are_links(model: Path) -> None:
    (model / "pytorch_model.bin").symlink_to("gone")
    (note,) = (note.text for note in look(model).notes if note.warning)
    assert note.startswith("'onnx/model.onnx', 'pytorch_model.bin': ")


def test_weights_that_are_a_link_are_refused_with_what_to_give(model: Path) -> None:
    (model / "model.safetensors").rename(model.with_name("blob"))
    (model / "model.safetensors").symlink_to(model.with_name("blob"))
    for run in (look, lambda path: bound(path, None)):
        with pytest.raises(FormatError, match=r"is a link, which could lead out of the folder; give what it leads to"):
            run(model)


def test_a_folder_of_other_things_and_the_input_are_never_replaced(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other things than a model as Hugging Face lays it out"):
        bound(model, other, force=True)
    with pytest.raises(OutputError, match="is the input"):
        bound(model, model, force=True)
    with pytest.raises(OutputError, match="lies in the input"):
        bound(model, model / "new")


def test_a_folder_is_replaced_where_the_output_has_all_of_its_files(model: Path, tmp_path: Path) -> None:
    other = _folder(tmp_path / "other", lambda folder: _write(folder / "model.safetensors", 5.0))
    (other / "checkpoint-5").mkdir()
    (other / "checkpoint-5" / "model.safetensors").write_bytes(b"mine")
    before = _content(other)
    with pytest.raises(OutputError, match=r"holds 'checkpoint-5/model.safetensors', which the output would not have"):
        bound(model, other, force=True)
    assert _content(other) == before
    (other / "checkpoint-5" / "model.safetensors").unlink()
    with pytest.raises(OutputError, match="exists"):
        bound(model, other)
    bound(model, other, force=True)
    assert _content(other).keys() == _content(model).keys()
    assert _content(other)["model.safetensors"] != before["model.safetensors"]


def test_a_warning_names_further_weights_and_not_what_training_keeps(model: Path) -> None:
    assert [note.text for note in look(model).notes if note.warning] == [
        "'onnx/model.onnx': further weights in the folder, neither measured nor changed"
    ]
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "tokenizer.model"):
        (model / name).write_bytes(b"x")
    for name in (
        "pytorch_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "a.jit",
        "a.keras",
        "a.ckpt",
        "a.npz",
        "a.pt2",
    ):
        (model / name).write_bytes(b"x")
    (note,) = (note.text for note in look(model).notes if note.warning)
    assert note.startswith("'a.ckpt', 'a.jit', 'a.keras' and 6 more: ")


def test_a_file_that_was_carried_over_and_is_another_is_noticed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry = Staging.carry

    def spoiled(self: Staging, source: Any, target: Path) -> None:
        carry(self, source, target)
        if target.name == "tokenizer.json":
            target.write_bytes(b"[2]")

    monkeypatch.setattr(Staging, "carry", spoiled)
    with pytest.raises(OutputError, match=r"'tokenizer.json' differs from the input; nothing was published"):
        bound(model, None)
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_a_private_file_that_is_carried_over_makes_the_output_private(model: Path) -> None:
    (model / "config.json").chmod(0o600)
    bound(model, None)
    out = model.with_name("model-renorm")
    assert all(path.stat().st_mode & 0o077 == 0 for path in (out, *out.rglob("*")))


def test_a_half_replaced_folder_is_refused_until_the_apply_in_place_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tensor_files.halves(ARRAYS)
    model = _folder(tmp_path / "model", lambda folder: tensor_files.write_index(folder / INDEX, shards))
    bound(model, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def killed(moves: Any) -> None:
        moves[-1][1].unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("renorm_cli.storage.journal.finish", killed)
        with pytest.raises(Killed):
            bound(model, None, in_place=True)
    assert not (model / INDEX).exists()
    with pytest.raises(FormatError, match="is half replaced"):
        look(model)
    bound(model, None, in_place=True)
    whole = tensor_files.read_safetensors(tmp_path / "whole" / INDEX)
    after = tensor_files.read_safetensors(model / INDEX)
    assert all(after[name].tobytes() == array.tobytes() for name, array in whole.items())


def test_a_folder_leads_to_the_weights_that_a_loader_takes(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    index = tensor_files.write_index(tmp_path / "model" / INDEX, tensor_files.halves(ARRAYS))
    assert locate(tmp_path / "model").path == tmp_path / "model"
    assert look(tmp_path / "model").format == "safetensors-index"
    _write(tmp_path / "model" / "model.safetensors", 7.0)
    with open_checkpoint(tmp_path / "model") as source:
        assert (source.format, source.path) == ("safetensors", tmp_path / "model")
        assert source.read(source.variables[0]).tobytes() == (ARRAYS["fc.weight"] * np.float32(7)).tobytes()
    (tmp_path / "model" / "model.safetensors").unlink()
    index.unlink()
    with pytest.raises(
        FormatError, match=r"holds 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'; give"
    ):
        look(tmp_path / "model")
    (tmp_path / "model" / "model-00001-of-00002.safetensors").unlink()
    assert look(tmp_path / "model").format == "safetensors"


def test_what_is_called_weights_and_is_none_is_told(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(FormatError, match=r"model.safetensors' is a Git LFS pointer to one; run `git lfs pull`"):
        look(model)
    (model / "model.safetensors").write_bytes(b"none")
    with pytest.raises(FormatError, match=r"model.safetensors' is no file of safetensors or PyTorch"):
        look(model)
    (model / "model.safetensors").write_bytes(b"")
    with pytest.raises(FormatError, match=r"model.safetensors' is no file of safetensors or PyTorch"):
        look(model)


# --- judged by transformers


@pytest.mark.slow
@pytest.mark.parametrize("size", ["4KB", "1GB"])
def test_transformers_reads_an_output_as_the_oracle_makes_it(size: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=50, n_positions=12, n_embd=8, n_layer=2, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path / "in", max_shard_size=size)
    bound(tmp_path / "in", None, limit=0.05)
    loaded, told = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "in-renorm", output_loading_info=True)
    assert not any(told.values())
    after = loaded.state_dict()
    for name, array in model.state_dict().items():
        if array.dim() == 2:  # `Conv1D` is (in, out), tables are (rows, size)
            axes = (1,) if ".h." in name else (0,)
            agrees(array.numpy(), after[name].numpy(), axes, 0.05)
        else:
            assert torch.equal(array, after[name])
    assert loaded.lm_head.weight is loaded.transformer.wte.weight


@pytest.mark.slow
def test_pytorch_reads_the_weights_of_a_folder_without_safetensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    weights = {name: torch.from_numpy(array.copy()) for name, array in ARRAYS.items()}
    model = _folder(tmp_path / "model", lambda folder: torch.save(weights, folder / "pytorch_model.bin"))
    bound(model, None)
    out = tmp_path / "model-renorm" / "pytorch_model.bin"
    after = torch.load(out, weights_only=True)
    agrees(ARRAYS["fc.weight"], after["fc.weight"].numpy(), (0,), 1.0)
    assert _content(out.parent).keys() == {*OTHERS, "pytorch_model.bin"}
    raw = out.read_bytes()
    at = raw.index(after["fc.weight"].numpy().tobytes())
    out.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    with pytest.raises(FormatError, match="is damaged: the checksum of"):
        check(out.parent, max_norm=9.0)
