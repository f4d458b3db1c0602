"""The recipes of README and of the pages of docs/, pasted in their order, end as the page says.

Files for CI services are valid by the schemas of these services.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT, SAMPLES

TOOLS = Path(sys.executable).parent
README = (ROOT / "README.md").read_text("utf-8")
RECIPE = re.compile(r"<!-- exit: (\d) -->\n```sh\n(.*?)```", re.DOTALL)
DOCS = {page.name: page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {name: found for name, text in DOCS.items() if (found := RECIPE.findall(text))}
YAML = re.findall(r"```yaml\n(.*?)```", DOCS["ci.md"], re.DOTALL)
JENKINS = re.findall(r"script: '(renorm-ckpt [^']*)'", DOCS["ci.md"])

ELSEWHERE = {"python.md", "training.md"}
"""Pages whose Python other tests run."""

PYTHON = [
    code for name in DOCS.keys() - ELSEWHERE for code in re.findall(r"```python\n(.*?)```", DOCS[name], re.DOTALL)
]


def shell(script: str, folder: Path) -> int:
    """Run a script in a folder, with `renorm-ckpt` on the path; its exit code."""
    env = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-ec", script], cwd=folder, env=env, capture_output=True, check=False).returncode


def filled(folder: Path) -> Path:
    """The folder with the checkpoints that the pages of docs/ speak of."""
    for sample in ("dense.h5", "dense.keras"):
        shutil.copy(SAMPLES / sample, folder / sample.replace("dense", "model"))
    shutil.copy(SAMPLES / "declared.keras", folder)
    shutil.copy(SAMPLES / "custom_layer.keras", folder / "custom.keras")
    return folder


def recipe(key: str) -> tuple[str, dict[str, Any]]:
    """The one yaml block with that key at its top."""
    yaml = pytest.importorskip("yaml")
    found = [(text, made) for text in YAML if key in (made := yaml.safe_load(text))]
    assert len(found) == 1
    return found[0]


def is_valid(tmp_path: Path, text: str, *command: str) -> bool:
    program = shutil.which(command[0], path=f"{TOOLS}:{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "file.yml").write_text(text)
    done = subprocess.run([program, *command[1:], "file.yml"], cwd=tmp_path, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["dense", "dense.weights", "embedding"])
def test_the_recipes_of_readme_can_be_pasted_one_after_the_other_beside_ones_own_model(
    sample: str, tmp_path: Path
) -> None:
    shutil.copy(SAMPLES / f"{sample}.h5", tmp_path / "model.h5")
    for code, script in RECIPE.findall(README):
        assert shell(script, tmp_path) == int(code), script


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_recipes_of_a_page_end_in_their_order_with_the_codes_they_are_said_to(page: str, tmp_path: Path) -> None:
    filled(tmp_path)
    for code, script in PAGES[page]:
        assert shell(script, tmp_path) == int(code), script


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON)
def test_the_python_of_a_page_runs(code: str, tmp_path: Path) -> None:
    for node in ast.walk(ast.parse(code)):
        for name in (one.name for one in node.names) if isinstance(node, ast.Import) else ():
            if find_spec(name) is None:
                pytest.skip(f"{name} is not installed")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_kind_of_recipe_is_there() -> None:
    assert len(RECIPE.findall(README)) >= 5
    assert {code for found in PAGES.values() for code, _ in found} == {"0", "1", "2"}
    assert len(YAML) == 3
    assert len(JENKINS) == 1


def test_the_workflow_is_valid_by_the_schema_of_github_and_its_inputs_are_those_of_the_action(tmp_path: Path) -> None:
    text, workflow = recipe("jobs")
    check = ("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    assert is_valid(tmp_path, text, *check)
    assert not is_valid(tmp_path, text.replace("runs-on", "run-on"), *check)
    yaml = pytest.importorskip("yaml")
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert set(workflow["jobs"]["norms"]["steps"][1]["with"]) <= set(action["inputs"])


@pytest.mark.slow
def test_the_gitlab_job_is_valid_by_its_schema_and_its_script_writes_its_artifacts(tmp_path: Path) -> None:
    text, found = recipe("norms")
    check = ("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci")
    assert is_valid(tmp_path, text, *check)
    assert not is_valid(tmp_path, text.replace("script:", "scripts:"), *check)
    install, *lines = found["norms"]["script"]
    assert install.startswith("pip install ")
    assert shell("\n".join(lines), filled(tmp_path)) == 1
    assert all((tmp_path / name).stat().st_size > 0 for name in found["norms"]["artifacts"]["paths"])
    assert set(found["norms"]["artifacts"]["reports"].values()) == set(found["norms"]["artifacts"]["paths"])


def test_the_pre_commit_recipe_is_valid_and_names_the_hook_there_is(tmp_path: Path) -> None:
    text, found = recipe("repos")
    assert is_valid(tmp_path, text, "pre-commit", "validate-config")
    assert not is_valid(tmp_path, text.replace("rev:", "revision:"), "pre-commit", "validate-config")
    assert f"- id: {found['repos'][0]['hooks'][0]['id']}\n" in (ROOT / ".pre-commit-hooks.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("script", JENKINS)
def test_the_command_of_the_jenkins_stage_is_1_here_and_writes_its_results(script: str, tmp_path: Path) -> None:
    assert shell(script, filled(tmp_path)) == 1
    assert (tmp_path / "results.xml").stat().st_size > 0
