"""One vocabulary at the doors: verbs and options have the same words, and only the command line spells options."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import renorm_cli
from renorm_cli.api import verbs
from renorm_cli.cli import app as commands

PACKAGE = Path(renorm_cli.__file__).parent
LIBRARY = sorted(path for path in PACKAGE.rglob("*.py") if "cli" not in path.relative_to(PACKAGE).parts)

OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[iox])\b")

NOT_ASKED = {"meter", "workers", "companions", "keep_norms", "sha256"}
"""What a verb takes from a program alone."""

OF_THE_COMMAND = {"whole", "force", "norms", "report", "format", "sort", "top", "color", "quiet"} | {
    *("recursive", "match", "skip", "listed", "only_list", "journal", "shard", "timeout", "cluster", "cluster_insecure")
}
"""What a command does with its arguments, and with what a verb gives."""

VERBS = ("apply", "inspect", "show", "check", "diff", "suggest")


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The strings of a module that someone may read when it runs: all but docstrings."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node


def named_options(source: str) -> list[str]:
    """The options that the strings of a module name."""
    if not OPTION.search(source):
        return []
    return [found for node in strings(ast.parse(source)) for found in OPTION.findall(str(node.value))]


def test_an_option_in_a_string_is_found_and_one_in_a_docstring_is_not() -> None:
    assert named_options('"""See --exclude."""\nx = f"{y} is wrong; leave it out with -x, or say --per {z}"') == [
        "-x",
        "--per",
    ]
    assert named_options("x = 'a-x -- b--c, -inf, from -1 to 1'") == []


def test_only_the_command_line_names_options() -> None:
    found = {str(path.relative_to(PACKAGE)): named_options(path.read_text("utf-8")) for path in LIBRARY}
    assert {path: options for path, options in found.items() if options} == {}


def keywords(verb: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(verbs, verb)).parameters)


def command(name: str) -> Any:
    return typer.main.get_command(commands.app).commands[name]  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", VERBS)
def test_the_options_of_a_command_are_the_keywords_of_its_verb_with_the_same_defaults(verb: str) -> None:
    options = {param.name: param for param in command(verb).params}
    parameters = keywords(verb)
    assert options.keys() - (OF_THE_COMMAND - parameters.keys()) == parameters.keys() - NOT_ASKED
    for name in options.keys() & parameters.keys():
        default = parameters[name].default
        if default is not inspect.Parameter.empty:
            assert options[name].default == (None if default == () else default), name


def ways() -> Iterator[tuple[str, ast.Call]]:
    for path in LIBRARY:
        source = path.read_text("utf-8")
        for node in ast.walk(ast.parse(source)) if "Way(" in source else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Way":
                yield str(path.relative_to(PACKAGE)), node


def test_a_way_out_names_a_keyword_and_gives_a_flag_its_value() -> None:
    known = {name: one for verb in VERBS for name, one in keywords(verb).items()}
    found = list(ways())
    assert len(found) > 10
    for path, way in found:
        name, *_, last = (*way.args, *(one.value for one in way.keywords))
        assert isinstance(name, ast.Constant), path
        assert name.value in known, f"{path}: {name.value}"
        if known[str(name.value)].annotation == "bool" and "{}" not in ast.unparse(way.args[1]):
            assert isinstance(last, ast.Constant), path
            assert last.value is True, f"{path}: {name.value} is a flag"


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_every_option_under_the_heading_of_its_group_and_in_its_order(verb: str) -> None:
    groups = [
        one.annotation
        for one in inspect.signature(inspect.unwrap(getattr(commands, verb)), eval_str=True).parameters.values()
        if hasattr(one.annotation, "heading")
    ]
    one = command(verb)
    options = {param.name: param.opts[0] for param in one.params if param.param_type_name == "option"}
    assert list(options) == [name for group in groups for name in group._fields]
    text = one.get_help(typer.Context(one))
    expected = []
    for group in groups:
        expected += [group.heading] * (group.heading not in expected) + [options[name] for name in group._fields]
    found = re.findall(r"^([A-Z][\w ]+):$|^  (?:-\w, )?(--[a-z-]+)", text, re.MULTILINE)
    shown = [heading or option for heading, option in found if heading not in ("Arguments", "Examples")]
    assert shown[: shown.index("--help")] == [*expected, "Other"]
