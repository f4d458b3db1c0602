"""The public names: all there, lazy, called `renorm_cli`, and not hidden by a room of the house."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.places import SAMPLES

import renorm_cli

DENSE = str(SAMPLES / "dense.h5")


def modules(code: str) -> set[str]:
    """The modules that are loaded when the code is done."""
    code = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_imports_none_of_its_rooms_and_no_numpy() -> None:
    found = modules("import renorm_cli")
    assert {name for name in found if name.startswith("renorm_cli")} == {"renorm_cli"}
    assert "numpy" not in found


def test_the_errors_are_imported_alone() -> None:
    found = modules("import renorm_cli\nrenorm_cli.RenormError")
    assert {name for name in found if name.startswith("renorm_cli")} == {"renorm_cli", "renorm_cli.errors"}


def test_a_verb_loads_no_parser_of_command_lines_and_nothing_that_draws() -> None:
    found = modules(f"import renorm_cli\nrenorm_cli.inspect({DENSE!r})")
    assert "renorm_cli.api.verbs" in found
    assert not found & {"typer", "click", "rich", "jinja2", "pandas", "tensorflow", "zipfile", "renorm_cli.cli"}


@pytest.mark.parametrize("name", renorm_cli.__all__)
def test_a_public_name_says_that_it_is_of_the_package(name: str) -> None:
    found = getattr(renorm_cli, name)
    assert found.__module__ == "renorm_cli"
    assert found.__name__ == name
    assert found.__doc__
    assert name in dir(renorm_cli)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'renorm_cli' has no attribute 'nothing'"):
        renorm_cli.nothing  # noqa: B018


def test_a_verb_stays_a_verb_after_all_of_them_were_called(tmp_path: Path) -> None:
    code = f"""
import renorm_cli as renorm
for _ in range(2):
    renorm.inspect({DENSE!r})
    renorm.check({DENSE!r}, max_norm=1)
    renorm.apply({DENSE!r}, {str(tmp_path / "out.h5")!r}, max_norm=1, force=True)
    renorm.diff({DENSE!r}, {str(tmp_path / "out.h5")!r})
    renorm.suggest({DENSE!r})
    renorm.open({DENSE!r}).close()
"""
    modules(code)


def test_no_room_has_the_name_of_a_public_one() -> None:
    package = Path(renorm_cli.__file__).parent
    assert [name for name in renorm_cli.__all__ if (package / name).exists() or (package / f"{name}.py").exists()] == []


def test_an_error_says_renorm_cli_in_a_traceback() -> None:
    code = "import renorm_cli\nrenorm_cli.inspect('missing.h5')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("renorm_cli.FormatError: ")


@pytest.mark.slow
def test_a_type_checker_knows_the_public_names(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    path = tmp_path / "user.py"
    path.write_text(
        "import renorm_cli\n"
        "reveal_type(renorm_cli.inspect('m.h5').unit_norms('w'))\n"
        "reveal_type(renorm_cli.diff('a', 'b').to_dict())\n"
        "reveal_type(renorm_cli.check('m.h5', max_norm=1).row('w'))\n"
    )
    text, _, code = api.run(["--strict", str(path)])
    assert code == 0, text
    revealed = [line.partition('"')[2].rstrip('"') for line in text.splitlines() if "Revealed" in line]
    assert [kind.partition("[")[0].rpartition(".")[2] for kind in revealed] == ["ndarray", "dict", "Row"]
