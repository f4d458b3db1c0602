"""The options of the command line, declared once; and how help groups them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from renorm_cli.cli.completion import reports, variable_names

BOUND, VARIABLES, BASELINE, WRITING, COMPUTING, REPORT = (
    "The bound",
    "Which variables and units",
    "Against an earlier report",
    "What is written",
    "How it is computed",
    "What is reported",
)
"""Headings of the options in help."""

EXIT_CODES = """Exit codes: 0 done, or the bound holds; 1 `check` found a unit over the bound or not finite, or out of
line with the baseline, `diff` a difference; 2 it could not be done (usage, unreadable or damaged file, nothing matched,
disk full), and nothing was written."""

DIFF_EXIT_CODES = """Exit codes: 0 the same, or the expected renorm and nothing else; 1 different, or not proven;
2 it could not be told (usage, unreadable or unrelated files, bytes that cannot be compared)."""


def _epilog(examples: str, exit_codes: str) -> str:
    return f"\b\nExamples:\n{examples}\n\n{exit_codes}"


APPLY_EPILOG = _epilog(
    """  renorm-ckpt apply model.h5 --max-norm 1.5
  renorm-ckpt apply model.h5 --max-norm 1.5 --dry-run --format json
  renorm-ckpt apply model.h5 --max-norm 1.5 -x 'hidden/*' -o bounded.h5
  renorm-ckpt apply model.keras --max-norm 1.5 --report page.html""",
    EXIT_CODES,
)
INSPECT_EPILOG = _epilog(
    """  renorm-ckpt inspect model.keras
  renorm-ckpt inspect model.h5 model.keras --max-norm 1.5 --report norms.csv
  renorm-ckpt inspect model.h5 -i '*/bias' --p inf --per tensor""",
    EXIT_CODES,
)
CHECK_EPILOG = _epilog(
    """  renorm-ckpt check model.h5 model.keras --max-norm 1.5
  renorm-ckpt check model.h5 --max-norm 1.5 --report junit=results.xml
  renorm-ckpt check model.h5 --baseline earlier.json --max-growth 5%""",
    EXIT_CODES,
)
SUGGEST_EPILOG = _epilog(
    """  renorm-ckpt suggest model.h5
  renorm-ckpt suggest model.h5 --clip 5% -o rules.toml
  renorm-ckpt suggest model.h5 --clip 1% --one-bound -i '*/kernel' --format json""",
    EXIT_CODES,
)
DIFF_EPILOG = _epilog(
    """  renorm-ckpt diff model.h5 bounded.h5
  renorm-ckpt diff model.h5 bounded.h5 --expect-renorm --max-norm 1.5""",
    DIFF_EXIT_CODES,
)

ReportFormat = Literal["table", "json", "csv", "md", "github", "junit", "sarif", "gitlab"]
DiffFormat = Literal["table", "json", "csv"]


class Command(TyperCommand):
    """A command whose help has its options under headings, without the cost of typer's own panels.

    Those need rich, which makes help take twice as long.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if param.param_type_name == "argument" else "Other"
                groups.setdefault(getattr(param, "rich_help_panel", None) or default, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint.", show_default=False)]
Checkpoints = Annotated[list[Path], typer.Argument(metavar="CHECKPOINT...", help="Checkpoints.", show_default=False)]
Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="A checkpoint.", show_default=False)]
After = Annotated[Path, typer.Argument(metavar="AFTER", help="What became of it.", show_default=False)]

Limit = Annotated[
    float | None,
    typer.Option("--max-norm", metavar="C", help="The bound on the norm of every unit.", rich_help_panel=BOUND),
]
P = Annotated[
    float, typer.Option("--p", metavar="P", help="The norm is the p-norm, 0 < P <= inf.", rich_help_panel=BOUND)
]
Scope = Annotated[
    Literal["unit", "tensor", "global"],
    typer.Option(
        "--per",
        help="What one norm runs over: a unit, a tensor, or all selected tensors together.",
        rich_help_panel=BOUND,
    ),
]
DiffScope = Annotated[
    Literal["unit", "tensor"],
    typer.Option("--per", help="What one norm runs over: a unit, or a tensor.", rich_help_panel=BOUND),
]
Declared = Annotated[
    bool,
    typer.Option(
        "--declared",
        help="Take limits and axes from the constraints that the file's own config declares.",
        rich_help_panel=BOUND,
    ),
]
RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE",
        help="Bounds by name, from a TOML file: [[rule]] with match = GLOB and max_norm = C (also p, units, per),"
        " or leave = true. The first that matches decides; only what one matches is bounded, unless --max-norm is"
        " there for the rest.",
        rich_help_panel=BOUND,
    ),
]
Clip = Annotated[
    str | None,
    typer.Option(
        "--clip",
        metavar="SHARE",
        help="The share of units to clip: 5% or 0.05.  [default: a table of shares; 5% for -o]",
        show_default=False,
        rich_help_panel=BOUND,
    ),
]
OneBound = Annotated[
    bool,
    typer.Option(
        "--one-bound", help="One bound for all variables in the rules, not one for each.", rich_help_panel=BOUND
    ),
]
ExpectRenorm = Annotated[
    bool,
    typer.Option(
        "--expect-renorm",
        help="Prove that AFTER is BEFORE renormed within --max-norm, else unchanged.",
        rich_help_panel=BOUND,
    ),
]

Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        "-i",
        metavar="GLOB",
        help="Variables to take instead of all kernels and embeddings.",
        autocompletion=variable_names,
        rich_help_panel=VARIABLES,
    ),
]
DiffInclude = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        "-i",
        metavar="GLOB",
        help="Variables to compare; with --expect-renorm those that may be renormed, as for apply.",
        autocompletion=variable_names,
        rich_help_panel=VARIABLES,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        "-x",
        metavar="GLOB",
        help="Variables to leave out.",
        autocompletion=variable_names,
        rich_help_panel=VARIABLES,
    ),
]
Units = Annotated[
    str,
    typer.Option(
        "--units",
        metavar="AXES",
        help="Axes that name units (kept, not reduced): auto, or -1, or 0,1.",
        rich_help_panel=VARIABLES,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Make guessed unit axes and unknown variables an error.", rich_help_panel=VARIABLES),
]

BaselineFile = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="A JSON report: fail where a variable's largest norm grew since, or a variable came or went.",
        rich_help_panel=BASELINE,
    ),
]
MaxGrowth = Annotated[
    str | None,
    typer.Option(
        "--max-growth",
        metavar="SHARE",
        help="How much a norm may grow: 5% or 0.05.  [default: 5%]",
        show_default=False,
        rich_help_panel=BASELINE,
    ),
]
AllowNew = Annotated[bool, typer.Option("--allow-new", help="Variables may be new.", rich_help_panel=BASELINE)]
AllowGone = Annotated[bool, typer.Option("--allow-gone", help="Variables may be gone.", rich_help_panel=BASELINE)]

OutputPath = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Where to write; model-renorm.h5 beside model.h5 if absent.",
        rich_help_panel=WRITING,
    ),
]
RulesPath = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the bounds as rules, for --rules of the other commands.",
        rich_help_panel=WRITING,
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the input, in one step.", rich_help_panel=WRITING)]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.", rich_help_panel=WRITING)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Report what would be done; write nothing.", rich_help_panel=WRITING)
]
NonFinite = Annotated[
    Literal["refuse", "skip"],
    typer.Option(
        "--nonfinite",
        help="On NaN or Inf: write nothing, or leave those units alone.",
        rich_help_panel=WRITING,
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Before it is published, read the output again and compare it with the input.",
        rich_help_panel=WRITING,
    ),
]

Engine = Annotated[
    Literal["auto", "numpy", "tensorflow"],
    typer.Option(
        "--engine",
        help="What computes; auto is TensorFlow for over 2 GiB where a GPU is, else NumPy.",
        rich_help_panel=COMPUTING,
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "gpu"], typer.Option("--device", help="Where to compute.", rich_help_panel=COMPUTING)
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        help="Threads; one per processor by default, at most 8.",
        rich_help_panel=COMPUTING,
    ),
]

Reports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write the report here. The ending chooses the format: .json, .csv, .md, .html, .xml (JUnit),"
        " .sarif; FORMAT=FILE says it (also gitlab, github). Repeatable.",
        autocompletion=reports,
        rich_help_panel=REPORT,
    ),
]
DiffReports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write the comparison here; .json or .csv, or FORMAT=FILE. Repeatable.",
        autocompletion=reports,
        rich_help_panel=REPORT,
    ),
]
Format = Annotated[
    ReportFormat | None,
    typer.Option("--format", help="What is printed on stdout.  [default: table]", rich_help_panel=REPORT),
]
CheckFormat = Annotated[
    ReportFormat | None,
    typer.Option(
        "--format",
        help="What is printed on stdout; by default a line for each checkpoint, and what is wrong with it.",
        rich_help_panel=REPORT,
    ),
]
DiffFormats = Annotated[DiffFormat, typer.Option("--format", help="What is printed on stdout.", rich_help_panel=REPORT)]
Colour = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(
        "--color", help="Colours; auto: on a terminal, or as NO_COLOR or FORCE_COLOR say.", rich_help_panel=REPORT
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=REPORT)]
