"""What README and the pages of docs/ show is what the program prints, and their links lead somewhere.

`PYTHONPATH=tests python tests/system/test_readme.py` rewrites what they show.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.places import ROOT

import renorm_cli

README = ROOT / "README.md"
PAGES = (README, ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"<!-- run: (?P<command>.*?) -->\n```text\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [block.groups() for page in PAGES for block in BLOCK.finditer(page.read_text("utf-8"))]
LINES_OF_README = 200


def printed(command: str, folder: Path) -> str:
    """What a command of a page prints, run in a folder with the samples beside it."""
    if not (folder / "sample_checkpoints").exists():
        (folder / "sample_checkpoints").symlink_to(ROOT / "sample_checkpoints")
    program, *arguments = shlex.split(command)
    assert program == "renorm-ckpt"
    done = subprocess.run(
        [sys.executable, "-m", "renorm_cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


@pytest.mark.parametrize(("command", "text"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_a_block_is_what_its_command_prints(command: str, text: str, tmp_path: Path) -> None:
    assert printed(command, tmp_path) == text


def test_there_are_blocks_to_check() -> None:
    assert len(BLOCKS) == sum(page.read_text("utf-8").count("<!-- run: ") for page in PAGES) >= 3


def test_the_setup_commands_are_one_line_each_and_the_ci_script_calls_the_second() -> None:
    text = README.read_text("utf-8")
    commands = re.findall(r"```sh\n(pip install [^\n]*)\n```", text)
    assert len(commands) == 2
    main_job = commands[0].partition(" && ")[2]
    assert f"<!-- run: {main_job} -->" in text
    setup, _, test = commands[1].partition(" && ")
    script = (ROOT / ".ci" / "run").read_text()
    assert setup.removeprefix("pip install ") in script
    assert f"\n{test}\n" in script


def test_the_exit_codes_are_those_of_the_help() -> None:
    codes = re.findall(r"^\| ([\d, ]+) \|", README.read_text("utf-8"), re.MULTILINE)
    assert codes == ["0", "1", "2", "130, 143, 129"]


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page.read_text("utf-8")), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text("utf-8")))


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    assert [link for link in links(page) if ":" not in link and not leads_somewhere(page, link)] == []


def test_a_link_that_leads_nowhere_would_be_noticed() -> None:
    assert leads_somewhere(README, "SECURITY.md#how-to-report")
    assert not leads_somewhere(README, "SECURITY.md#nothing")
    assert not leads_somewhere(README, "docs/nothing.md")


def test_the_contents_of_readme_name_its_headings_in_order_and_it_is_short() -> None:
    text = README.read_text("utf-8")
    contents = re.findall(r"\]\(#([\w-]+)\)", text.partition("\n## ")[0])
    headings = re.findall(r"^## (.+)$", without_blocks(text), re.MULTILINE)
    assert contents == [heading.lower().replace(" ", "-") for heading in headings]
    assert text.count("\n") <= LINES_OF_README


def test_readme_leads_to_every_page() -> None:
    assert {(ROOT / link.partition("#")[0]).resolve() for link in links(README)} >= set(PAGES) - {README}


def drawing(text: str) -> list[str]:
    """The lines that draw the house, from the command line to the ground, without what explains them."""
    lines = [line.split() for line in text.splitlines()]
    first = next(number for number, line in enumerate(lines) if line[:1] == ["cli/"])
    last = next(number for number, line in enumerate(lines) if line[:1] == ["parallel/"])
    return [" ".join(line) for line in lines[first : last + 1] if line]


ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGE = Path(renorm_cli.__file__).parent


def test_the_drawing_of_the_house_is_that_of_the_package_and_every_room_is_explained() -> None:
    page = ARCHITECTURE.read_text("utf-8")
    assert renorm_cli.__doc__ is not None
    assert drawing(page) == drawing(renorm_cli.__doc__)
    rooms = re.findall(r"\w+(?:/|\.py)(?= |$)", "\n".join(drawing(page)), re.MULTILINE)
    top = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    assert {room.rstrip("/") for room in rooms} == {name for name in top if not name.startswith("__")}
    table = page.partition("| room |")[2].partition("\n\n")[0]
    assert [room for room in rooms if f"`{room}`" not in table] == []


@pytest.mark.parametrize("page", [ARCHITECTURE, ROOT / "docs" / "contributing.md"], ids=lambda page: page.name)
def test_every_path_that_a_page_on_the_code_names_is_there(page: Path) -> None:
    paths = re.findall(r"`([\w.]+/[\w./]*)`", page.read_text("utf-8"))
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists() and not (PACKAGE / path).exists()] == []


def test_every_constant_whose_measurement_is_told_is_there() -> None:
    section = (ROOT / "docs" / "performance.md").read_text("utf-8").partition("## Constants")[2]
    names = re.findall(r"^\| `(\w+)\.(\w+)`", section, re.MULTILINE)
    assert len(names) > 5
    sources = [(path.stem, path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")]  # two may have one stem
    there = {(stem, name) for stem, text in sources for _, name in names if re.search(rf"\b{name}\b", text)}
    assert [name for name in names if name not in there] == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for page in PAGES:
            page.write_text(
                BLOCK.sub(
                    lambda block: (
                        f"<!-- run: {block['command']} -->\n```text\n{printed(block['command'], Path(folder))}```"
                    ),
                    page.read_text("utf-8"),
                ),
                "utf-8",
            )
