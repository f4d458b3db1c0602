"""Imports point down, and heavy packages are imported only where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import renorm_cli

PACKAGE = Path(renorm_cli.__file__).parent

FLOORS = [
    {"errors"},
    {"model", "buffers", "spread", "small_file", "error_free"},
    {"layers", "findings", "earlier", "suggestion", "differences"},
    {"selection", "units", "blocks", "distribution", "baseline", "maths", "arrays", "formats", "render"},
    {"measure", "multiples", "declared", "rules"},
    {"plan", "rules_file", "suggest", "run", "verify", "pairs"},
    {"run_global", "comparison"},
    {"compare"},
    {"commands", "training"},
    {"terminal", "completion"},
    {"output", "options", "asked"},
    {"cli", "tf"},
    {"__main__"},
]
SAME_FLOOR = {("formats", "blocks")}
"""Neighbours that may be known: what a block is."""

HEAVY = {
    "tensorflow": {
        "arrays/tensorflow_arrays.py",
        *(f"training/{name}.py" for name in ("arguments", "callback", "clip", "function", "gradient")),
    },
    "keras": {f"training/{name}.py" for name in ("callback", "constraint", "live")},
    "h5py": {"formats/hdf5/worker.py"},
    "jinja2": {"render/page.py"},
    "rich": {"render/progress.py"},
    "typer": {"cli.py", "options.py"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def climbs(path: Path, found: list[str]) -> list[str]:
    """Imports of this package that do not point down."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    here = room(path)
    wrong = []
    for name in found:
        parts = name.split(".")
        if parts[0] != "renorm_cli" or len(parts) < 2 or parts[1] not in floor:
            continue
        allowed = floor[parts[1]] < floor[here] or parts[1] == here or (here, parts[1]) in SAME_FLOOR
        if not allowed:
            wrong.append(name)
    return wrong


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py" or path.parent != PACKAGE]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    assert climbs(path, imports(path)) == []


def test_an_import_that_points_up_would_be_found() -> None:
    assert climbs(PACKAGE / "maths.py", ["renorm_cli.run", "renorm_cli.errors.UsageError", "numpy"]) == [
        "renorm_cli.run"
    ]
    assert climbs(PACKAGE / "render" / "table.py", ["renorm_cli.arrays.pick"]) == ["renorm_cli.arrays.pick"]


def test_every_room_has_its_floor() -> None:
    assert {room(path) for path in sources()} == set().union(*FLOORS)


@pytest.mark.parametrize("package", HEAVY)
def test_a_heavy_package_is_imported_only_in_its_room(package: str) -> None:
    users = {
        str(path.relative_to(PACKAGE)) for path in sources() if any(n.split(".")[0] == package for n in imports(path))
    }
    assert users == HEAVY[package]


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_command_line_starts_without_anything_heavy() -> None:
    assert not loaded_by("import renorm_cli.cli") & {"numpy", "h5py", "tensorflow", "rich", "ml_dtypes"}
    assert "numpy" in loaded_by("import renorm_cli.run")  # the check can fail


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['renorm-ckpt', 'apply', '--help']\n"
        "from renorm_cli.cli import main\n"
        "try: main()\nexcept SystemExit as done: assert done.code == 0"
    )
    assert not loaded_by(code) & {"numpy", "h5py", "tensorflow", "ml_dtypes"}


def test_inspecting_a_file_never_imports_tensorflow() -> None:
    sample = PACKAGE.parent / "sample_checkpoints" / "dense.h5"
    code = (
        f"import sys; sys.argv = ['renorm-ckpt', 'inspect', {str(sample)!r}]\n"
        "from renorm_cli.cli import main\n"
        "try: main()\nexcept SystemExit as done: assert done.code == 0"
    )
    found = loaded_by(code)
    assert {"numpy", "h5py"} <= found
    assert not found & {"tensorflow", "keras", "ml_dtypes"}


def test_the_numpy_path_works_where_tensorflow_is_not_installed(tmp_path: Path) -> None:
    sample = PACKAGE.parent / "sample_checkpoints" / "dense.keras"
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "tf_keras"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
sys.argv = ["renorm-ckpt", "apply", {str(sample)!r}, "--max-norm", "1", "-o", {str(tmp_path / "out.keras")!r}]
from renorm_cli.cli import main
try: main()
except SystemExit as done: assert done.code == 0, done.code
"""
    loaded_by(code)
    assert (tmp_path / "out.keras").stat().st_size == sample.stat().st_size
