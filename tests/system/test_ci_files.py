"""The GitHub action and the pre-commit hook, run for real: validated by their schemas, executed step by step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support import builders, onnx_files, tf_recorded, tfjs_files
from support.cli import renorm
from support.places import ROOT

from renorm_cli.formats.registry import FORMATS, wholes

TOOLS = Path(sys.executable).parent


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{TOOLS}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def action() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return found


def check_step() -> dict[str, Any]:
    (step,) = [step for step in action()["runs"]["steps"] if step.get("id") == "check"]
    return dict(step)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`good/a.h5` within 3 and `bad/deep/b c.h5` above it."""
    weights = builders.two_dense()
    for name, factor in (("good/a.h5", 1), ("bad/deep/b c.h5", 9)):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        for layer in weights.values():
            layer["kernel"] = layer["kernel"] * factor
        builders.write_v3(path, builders.v3_layers(weights))
    return tmp_path


def run_action(folder: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the step as a runner does: inputs in the environment by way of `env`, and a file for the outputs."""
    step = check_step()
    given = {name: str(one.get("default", "")) for name, one in action()["inputs"].items()} | {
        name.replace("_", "-"): value for name, value in inputs.items()
    }
    env = {name: given[text.removeprefix("${{ inputs.").removesuffix(" }}")] for name, text in step["env"].items()}
    script, outputs = folder / "step.sh", folder / "outputs"
    script.write_text(step["run"])
    outputs.write_text("")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            **env,
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        },
    )
    return done, outputs.read_text()


def test_the_action_is_valid_by_the_schema_of_github_and_a_broken_one_is_not(tmp_path: Path) -> None:
    check = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-actions"]
    assert subprocess.run([*check, ROOT / "action.yml"], capture_output=True, check=False).returncode == 0
    broken = tmp_path / "action.yml"
    broken.write_text((ROOT / "action.yml").read_text().replace("using: composite", "using: composed"))
    assert subprocess.run([*check, broken], capture_output=True, check=False).returncode == 1


def test_no_input_of_the_action_is_pasted_into_a_script() -> None:
    assert all("${{" not in step["run"] for step in action()["runs"]["steps"])
    assert set(check_step()["env"].values()) == {f"${{{{ inputs.{name} }}}}" for name in action()["inputs"]}


@pytest.mark.slow
def test_the_action_is_0_1_or_2_annotates_and_writes_the_summary_and_the_reports(folder: Path) -> None:
    done, outputs = run_action(folder, checkpoints="good/*.h5\n", max_norm="3")
    assert (done.returncode, outputs) == (0, "exit-code=0\n")
    assert "::error" not in done.stdout
    done, outputs = run_action(
        folder, checkpoints="good/*.h5\nbad/**/*.h5", max_norm="3", report="junit=r.xml\nr.json", arguments="--p\n2"
    )
    assert (done.returncode, outputs) == (1, "exit-code=1\n")
    assert "file=bad/deep/b c.h5,line=1::'hidden/kernel'" in done.stdout
    assert (folder / "r.xml").exists()
    assert (folder / "r.json").exists()
    assert "hidden/kernel" in (folder / "summary.md").read_text()
    done, outputs = run_action(folder, checkpoints="good/*.h5\nnone/*.h5", max_norm="3")
    assert (done.returncode, outputs) == (2, "exit-code=2\n")
    assert run_action(folder, checkpoints="good/a.h5", baseline="r.json")[0].returncode == 0
    assert run_action(folder, checkpoints="\n", max_norm="3")[0].returncode == 2
    assert run_action(folder, checkpoints="good/a.h5")[0].returncode == 2


@pytest.mark.slow
def test_what_an_input_of_the_action_says_is_never_run(folder: Path) -> None:
    hostile = '"; touch pwned; $(touch pwned) `touch pwned` #'
    for name in ("checkpoints", "max_norm", "baseline", "max_growth", "report", "arguments"):
        done, _ = run_action(folder, **{"checkpoints": "good/a.h5", "max_norm": "3", name: hostile})
        assert done.returncode == 2, name
    done, _ = run_action(folder, checkpoints="--version", max_norm="3")
    assert done.returncode == 2
    assert not (folder / "pwned").exists()


@pytest.mark.slow
def test_the_action_installs_what_the_tool_needs_and_no_tensorflow(tmp_path: Path) -> None:
    """The step with the tool's own `pip install` noted, not done: what it would install is what pyproject.toml says."""
    (step,) = [step for step in action()["runs"]["steps"] if "pip" in step["run"]]
    pip = '"$environment/bin/pip" install'
    assert pip in step["run"]
    script = step["run"].replace(pip, "echo pip install").replace("command -v renorm-ckpt", "false")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_PATH": str(tmp_path / "path"),
        },
    )
    needed = (tmp_path / "renorm-ckpt" / "needed.txt").read_text().splitlines()
    names = {name for line in needed for name in ("numpy", "h5py", "typer", "rich") if line.startswith(name)}
    assert names == {"numpy", "h5py", "typer", "rich"}
    assert not any("tensorflow" in line for line in needed)
    assert done.stdout.splitlines()[-1].endswith(f"--no-deps {ROOT}")
    assert (tmp_path / "path").read_text() == f"{tmp_path}/renorm-ckpt/bin\n"


def hook_takes(name: str) -> bool:
    (hook,) = pytest.importorskip("yaml").safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    return re.search(hook["files"], name) is not None


TREES: dict[str, tuple[str, list[str]]] = {
    "SavedModelFormat": ("m", ["saved_model.pb", "variables/variables.index", "fingerprint.pb", "keras_metadata.pb"]),
    "OrbaxFormat": (
        "1",
        [
            *("_CHECKPOINT_METADATA", "_METADATA", "_sharding", "_strings.json", "manifest.ocdbt", "d/0a1b"),
            *("ocdbt.process_0/manifest.ocdbt", "ocdbt.process_0/d/0a1b", "w/.zarray", "w/0.1", "n/.zarray", "n/0"),
            *("config/_CHECKPOINT_METADATA", "v/zarr.json", "v/c/0/1", "s/zarr.json", "s/c"),
        ],
    ),
    "DistributedFormat": ("m", [".metadata", "__0_0.distcp"]),
    "TfCheckpointFormat": ("m", [".index", ".data-00000-of-00001", ".meta"]),
    "GgufSplitFormat": ("m-00001-of-00002.gguf", ["", "2"]),
    "OnnxFormat": ("m.onnx", ["", ".data", "_data", ".00001.data"]),
}
"""What checkpoints consist of that are not one file: what names one, and the files in it, or what follows its name."""


@pytest.mark.parametrize("kind", TREES)
def test_each_file_of_a_checkpoint_is_one_for_the_hook_and_leads_to_the_checkpoint(kind: str, tmp_path: Path) -> None:
    whole, ends = TREES[kind]
    is_folder = kind in ("SavedModelFormat", "OrbaxFormat", "DistributedFormat")
    names = [f"{whole}/{end}" if is_folder else whole + end for end in ends]
    if kind == "GgufSplitFormat":
        names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [name for name in names if not hook_takes(name)] == []
    for name in names:
        (led,), others = wholes([tmp_path / name])
        assert (str(led).removesuffix(".index"), others) == (str(tmp_path / whole), []), name


@pytest.mark.parametrize(
    "name",
    ["weights.bin", "m.data", "fc1.weight", "fc1.bias", "onnx__MatMul_12", "3f0c6c1e-9d5e-11ee-8c90-0242ac120002"],
)
def test_a_file_of_tensors_leads_to_the_model_that_names_it_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    onnx_files.write_outside(tmp_path / "m.onnx", name)
    assert hook_takes(name)
    assert wholes([tmp_path / name]) == ([tmp_path / "m.onnx"], [])
    (tmp_path / "other.bin").write_bytes(b"x")
    assert wholes([tmp_path / "other.bin"]) == ([], [tmp_path / "other.bin"])


def test_a_file_of_weights_of_tensorflow_js_is_one_for_the_hook_and_leads_to_its_model(tmp_path: Path) -> None:
    model = tfjs_files.write_small(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        assert hook_takes(path.name)
        assert hook_takes(f"web/m-{path.name.removesuffix('.bin')}")
        assert wholes([path]) == ([model], [])
    assert all(map(hook_takes, ("model-renorm.json", "web/face_model-weights_manifest.json", "face_model-shard1")))
    assert not hook_takes("model_index.json")


def test_the_hook_takes_what_the_formats_read_and_no_format_is_forgotten() -> None:
    endings = {ending for format in FORMATS for ending in (*format.endings, *format.searched)} - {".json"}
    assert sorted(ending for ending in endings if not hook_takes(f"m{ending}")) == []
    not_one_file = {type(format).__name__ for format in FORMATS if not format.searched and format.reads}
    assert not_one_file - {"TfV1Format"} <= TREES.keys()
    assert [name for name in ("a.py", "README.md", "config.json", "d/a.py", "docs/c.md") if hook_takes(name)] == []


def test_a_file_that_is_no_checkpoint_is_passed_over_by_the_hook_and_a_broken_one_is_not(
    folder: Path,
) -> None:
    others = ("blob.bin", "zarr.json", "x.meta", "0")
    broken = ("broken.h5", "pytorch_model.bin", "good/x.data-00000-of-00001")
    for name in (*others, *broken):
        (folder / name).write_bytes(b"no checkpoint")
    with zipfile.ZipFile(folder / "training_args.bin", "w") as arguments:
        arguments.writestr("training_args/data.pkl", b"\x80\x02}q\x00.")
        arguments.writestr("training_args/version", b"3\n")
    others = (*others, "training_args.bin")

    def checked(*names: str) -> subprocess.CompletedProcess[str]:
        return renorm("check", "--whole", *(str(folder / name) for name in names), "--max-norm", "3")

    alone = checked(*others)
    assert alone.returncode == 0
    assert alone.stderr.count("is passed over: it is no checkpoint, and no part of one") == len(others)
    assert checked(*others, "good/a.h5").returncode == 0
    assert checked(*others, "bad/deep/b c.h5").returncode == 1
    for name in (*broken, "gone.bin"):
        assert checked(name).returncode == 2, name


@pytest.mark.slow
def test_pre_commit_lets_a_commit_pass_or_stops_it(tmp_path: Path) -> None:
    """The hook of this repository, in a repository made here, with the tool as it is installed."""
    pre_commit, git = tool("pre-commit"), tool("git")
    home = tmp_path / "home"
    home.mkdir()
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
        "HOME": str(home),
        "PRE_COMMIT_HOME": str(home / "cache"),
        "GIT_CONFIG_COUNT": "3",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "Someone",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "someone@example.org",
        "GIT_CONFIG_KEY_2": "protocol.file.allow",
        "GIT_CONFIG_VALUE_2": "always",
    }

    def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)

    hooks, work = tmp_path / "hooks", tmp_path / "work"
    for repository in (hooks, work):
        repository.mkdir()
        assert run(git, "init", "-q", cwd=repository).returncode == 0
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    assert run(git, "add", "-A", cwd=hooks).returncode == 0
    assert run(git, "commit", "-qm", "hooks", cwd=hooks).returncode == 0
    assert run(git, "tag", "v1", cwd=hooks).returncode == 0
    assert run(pre_commit, "validate-manifest", ".pre-commit-hooks.yaml", cwd=hooks).returncode == 0
    (work / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {hooks}\n  rev: v1\n  hooks:\n  - id: renorm-check\n"
        '    language: system\n    args: [--max-norm, "3"]\n'
    )
    assert run(pre_commit, "install", cwd=work).returncode == 0
    weights = builders.two_dense()
    builders.write_v3(work / "model.weights.h5", builders.v3_layers(weights))
    (work / "notes.txt").write_text("no checkpoint")
    tf_recorded.copied("saved model", work)
    tf_recorded.copied("objects", work)
    assert run(git, "add", "-A", cwd=work).returncode == 0
    done = run(git, "commit", "-m", "within the bound", cwd=work)
    assert done.returncode == 0, done
    assert "Passed" in done.stderr + done.stdout
    told = run(pre_commit, "run", "--all-files", "--verbose", cwd=work).stdout
    assert sorted(line.rpartition(" of ")[2] for line in told.splitlines() if line.startswith("holds: ")) == [
        "'ckpt-7'",
        "'model.weights.h5'",
        "'module'",
    ]
    weights["hidden"]["kernel"] = weights["hidden"]["kernel"] * 9
    (work / "model.weights.h5").unlink()
    builders.write_v3(work / "model.weights.h5", builders.v3_layers(weights))
    assert run(git, "add", "-A", cwd=work).returncode == 0
    done = run(git, "commit", "-m", "above it", cwd=work)
    assert done.returncode == 1
    assert "'hidden/kernel'" in done.stderr + done.stdout
