"""What `--help` shows: options under the headings of their groups, examples, exit codes."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

from typer import Exit
from typer.core import TyperCommand, TyperGroup

from renorm_cli.cli import again, words
from renorm_cli.cli.terminal import print_text
from renorm_cli.errors import UsageError

EXIT_CODES = """Exit codes: 0 done, or the bound holds; 1 `check` found a unit over the bound or not finite, or out of
line with the baseline, `diff` a difference; 2 it could not be done (usage, unreadable or damaged file, nothing matched,
guessed unit axes, disk full), and no checkpoint was written, or `check` could not tell (a matrix is not identified, a
guess matters)."""

DIFF_EXIT_CODES = """Exit codes: 0 the same, or the expected renorm and nothing else; 1 different, or not proven;
2 it could not be told (usage, unreadable or unrelated files, bytes that cannot be compared)."""


def _epilog(examples: str, exit_codes: str) -> str:
    return f"\b\nExamples:\n{examples}\n\n{exit_codes}"


APPLY = _epilog(
    """  renorm-ckpt apply model.h5 --max-norm 1.5
  renorm-ckpt apply model.h5 --max-norm 1.5 --dry-run --format json
  renorm-ckpt apply model.h5 --max-norm 1.5 -x 'hidden/*' -o bounded.h5
  renorm-ckpt apply model.keras --max-norm 1.5 --report page.html""",
    EXIT_CODES,
)
INSPECT = _epilog(
    """  renorm-ckpt inspect model.keras
  renorm-ckpt inspect model.h5 model.keras --max-norm 1.5 --report norms.csv
  renorm-ckpt inspect model.h5 --role bias --p inf --per tensor
  renorm-ckpt inspect -r runs --skip '*/tmp/*' --report runs.csv""",
    EXIT_CODES,
)
SHOW = _epilog(
    """  renorm-ckpt show model.keras hidden/kernel
  renorm-ckpt show model.keras hidden/kernel --max-norm 1.5""",
    EXIT_CODES,
)
CHECK = _epilog(
    """  renorm-ckpt check model.h5 model.keras --max-norm 1.5
  renorm-ckpt check model.h5 --max-norm 1.5 --report junit=results.xml
  renorm-ckpt check model.h5 --baseline earlier.json --max-growth 5%
  renorm-ckpt check model.h5 --max-norm 9 --like model.keras
  renorm-ckpt check -r runs --max-norm 9 --journal runs.jsonl --report a.html""",
    EXIT_CODES,
)
SUGGEST = _epilog(
    """  renorm-ckpt suggest model.h5
  renorm-ckpt suggest model.h5 --clip 5% -o rules.toml
  renorm-ckpt suggest model.h5 --clip 1% --one-bound -i '*/kernel' -o all.toml""",
    EXIT_CODES,
)
REPORT = _epilog(
    """  renorm-ckpt report norms.jsonl
  renorm-ckpt report part-*.jsonl --report page.html --report results.xml""",
    EXIT_CODES,
)
DIFF = _epilog(
    """  renorm-ckpt diff model.h5 bounded.h5
  renorm-ckpt diff model.h5 bounded.h5 --expect-renorm --max-norm 1.5""",
    DIFF_EXIT_CODES,
)

_OF_SHELLS = ("--install-completion", "--show-completion")

_STREAMS = ("report", "listed")
"""Parameters for which `-` has a meaning."""

_EMPTY = re.compile(r"--[a-z-]+=")


def _print_help(ctx: Any, param: Any, wanted: bool) -> None:
    """Print help as all else is printed: the parser's own printing fails on a full disk."""
    if wanted and not ctx.resilient_parsing:
        print_text(ctx.get_help() + "\n")
        raise Exit


def _printing(option: Any) -> Any:
    option.callback = _print_help
    return option


class Group(TyperGroup):
    """The commands; one that is not there is answered with what was meant."""

    def get_help_option(self, ctx: Any) -> Any:
        return _printing(super().get_help_option(ctx))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command does in full; the parser cuts it at one line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.commands.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse, with the user's own shell for an option that takes one and has none."""
        for place, option in enumerate(args):
            if option in _OF_SHELLS and not args[place + 1 :]:
                args = [*args, os.path.basename(os.environ.get("SHELL", ""))]  # noqa: PTH119
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing and args[0] not in self.commands:
            raise UsageError(_no_command(args[0], [*self.commands]))
        return super().resolve_command(ctx, args)


def _no_command(word: str, commands: list[str]) -> str:
    if os.path.lexists(word) or "/" in word or "." in word:
        return f"{word!r} is a path, and a command was expected; try `renorm-ckpt inspect {shlex.quote(word)}`"
    from difflib import get_close_matches

    close = get_close_matches(word, commands, n=1)
    hint = f"closest: {close[0]}" if close else f"there are {', '.join(commands)}"
    return f"{word!r} is no command; {hint}"


def problem_text(problem: Any) -> str:
    """What the parser says of a usage error, and where the help of that command is."""
    command = "renorm-ckpt" if problem.ctx is None else problem.ctx.command_path
    return f"{problem.format_message().rstrip('.')}; see `{command} --help`"


class Command(TyperCommand):
    """A command whose help has its options under headings, without the cost of typer's own panels.

    Those need rich, which makes help take twice as long.
    """

    def get_help_option(self, ctx: Any) -> Any:
        return _printing(super().get_help_option(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under their headings, both in the order of the command's parameters."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if param.param_type_name == "argument" else "Other"
                groups.setdefault(getattr(param, "rich_help_panel", None) or default, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse, and refuse an argument that is empty, as it is where a shell variable is not set."""
        empty = next((arg for arg in args if not arg or _EMPTY.fullmatch(arg)), None)
        if empty is not None and not ctx.resilient_parsing:
            found = repr(empty) if empty else "an argument"
            raise UsageError(f"{found} is empty; a value was expected, is a variable of the shell not set?")
        try:
            return super().parse_args(ctx, args)
        except Exception as problem:
            if getattr(problem, "ctx", ctx) is None:  # the parser leaves it out for a value that is missing
                problem.ctx = ctx  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; from here on what is said names its options.

        Raises UsageError for `-` in place of a file.
        """
        words.speak_of(self.params)
        again.remember(self.params, ctx.params)
        for param in self.params:
            value = ctx.params.get(param.name)
            if param.name not in _STREAMS and "-" in map(str, value if isinstance(value, list | tuple) else [value]):
                option = param.opts[0] if param.param_type_name == "option" else param.human_readable_name.rstrip(".")
                raise UsageError(f"{option} '-' is no file; stdin and stdout are not used for it, './-' is a file")
        return super().invoke(ctx)
