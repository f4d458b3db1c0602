"""The options of the command line, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from renorm_cli.cli.completion import files_called, reports, variable_names

ReportFormat = Literal["table", "json", "jsonl", "csv", "md", "github", "junit", "sarif", "gitlab"]
DiffFormat = Literal["table", "json", "csv", "md"]
SuggestFormat = Literal["table", "json", "csv", "md"]


Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint.", show_default=False)]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Argument(metavar="CHECKPOINT...", help="Checkpoints; with -r also folders of them.", show_default=False),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole",
        help="Of a file that is a part of a checkpoint, take the checkpoint, once, and pass over what is neither: for"
        " hooks on changed files.",
    ),
]
Variable = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A variable, by its name or its storage key.",
        show_default=False,
        autocompletion=variable_names,
    ),
]
Journals = Annotated[list[Path], typer.Argument(metavar="JOURNAL...", help="What --journal wrote.", show_default=False)]
Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="A checkpoint.", show_default=False)]
After = Annotated[Path, typer.Argument(metavar="AFTER", help="What became of it.", show_default=False)]

Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Take all checkpoints below the folders that are given.")
]
Match = Annotated[
    list[str] | None,
    typer.Option(
        "--match",
        metavar="GLOB",
        help="Take only the checkpoints whose path, or its last part, it matches. Repeatable.",
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="GLOB", help="Leave out those that it matches. Repeatable."),
]
Listed = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Take also the paths in this file, one a line, or with a NUL after each; - is stdin.",
        allow_dash=True,
    ),
]
OnlyList = Annotated[bool, typer.Option("--list", help="Print which checkpoints these are, and read none of them.")]
JournalFile = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="FILE",
        help="Keep a line of JSON for each checkpoint here as soon as it is done; a run that was stopped goes on.",
    ),
]
Shard = Annotated[
    list[str] | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Take only part I of N, from 1 to N: for N runs at the same time, on machines that see the same paths.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="URL",
        help="Work on a dask cluster, tcp:// or tls://HOST:PORT of its scheduler, whose workers see the same files.",
    ),
]
ClusterInsecure = Annotated[
    bool,
    typer.Option(
        "--cluster-insecure",
        help="Accept tcp:// to another machine: who reaches it can run anything on the cluster.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Give up a checkpoint that takes longer."),
]

Limit = Annotated[
    float | None,
    typer.Option("--max-norm", metavar="C", help="The bound on the norm of every unit."),
]
Norm = Annotated[
    Literal["p", "spectral"],
    typer.Option("--norm", help="The norm: the p-norm of a unit, or the largest singular value of each matrix."),
]
Conv = Annotated[
    Literal["matrix", "operator"],
    typer.Option(
        "--conv",
        help="The spectral norm of a convolution: that of its matrix, or an upper bound of that of the operator on"
        " images of every size.",
    ),
]
Spectral = Annotated[
    bool, typer.Option("--spectral", help="Short for --norm spectral: norms of matrices, and their stable ranks.")
]
Spectrum = Annotated[
    bool,
    typer.Option("--spectrum", help="The same, with effective rank, condition number and power law of each matrix."),
]
P = Annotated[float, typer.Option("--p", metavar="P", help="The norm is the p-norm, 1/512 <= P <= 512, or inf.")]
Scope = Annotated[
    Literal["unit", "tensor", "global"],
    typer.Option(
        "--per",
        help="What one norm runs over: a unit, a tensor, or all selected tensors together.",
    ),
]
DiffScope = Annotated[
    Literal["unit", "tensor"],
    typer.Option("--per", help="What one norm runs over: a unit, or a tensor."),
]
Declared = Annotated[
    bool,
    typer.Option(
        "--declared",
        help="Take limits and axes from the constraints that the file's own config declares.",
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
        autocompletion=files_called(".toml"),
    ),
]
Clip = Annotated[
    str | None,
    typer.Option(
        "--clip",
        metavar="SHARE",
        help="The share of units to clip: 5% or 0.05.  [default: a table of shares; 5% for -o]",
        show_default=False,
    ),
]
OneBound = Annotated[
    bool,
    typer.Option("--one-bound", help="One bound for all variables in the rules, not one for each."),
]
ExpectRenorm = Annotated[
    bool,
    typer.Option(
        "--expect-renorm",
        help="Prove that AFTER is BEFORE renormed within --max-norm, else unchanged.",
    ),
]

Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        "-i",
        metavar="GLOB",
        help="Variables to take among those of the roles; a whole name takes that one whatever its role.",
        autocompletion=variable_names,
    ),
]
DiffRole = Annotated[
    str | None,
    typer.Option(
        "--role",
        metavar="ROLES",
        help="Kinds of variables that may be renormed, such as kernel,bias.  [default: kernel,embedding]",
        show_default=False,
    ),
]
WeightsOnly = Annotated[
    bool, typer.Option("--weights-only", help="Leave out what an optimizer keeps, counters and metrics.")
]
DiffInclude = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        "-i",
        metavar="GLOB",
        help="Variables to compare; with --expect-renorm those that may be renormed, as for apply.",
        autocompletion=variable_names,
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
    ),
]
Role = Annotated[
    str | None,
    typer.Option(
        "--role",
        metavar="ROLES",
        help="Kinds of variables to take, such as kernel,bias.  [default: kernel,embedding]",
        show_default=False,
    ),
]
Units = Annotated[
    list[str] | None,
    typer.Option(
        "--units",
        metavar="[GLOB=]AXES",
        help="Axes that name units (kept, not reduced): auto, or -1, or 0,1; with GLOB= those of the variables it"
        " names, which are kernels then if nothing else tells. Repeatable: the last GLOB decides.  [default: auto]",
        show_default=False,
    ),
]
Like = Annotated[
    Path | None,
    typer.Option(
        "--like",
        metavar="CHECKPOINT",
        help="Another checkpoint of the same model, which tells what the variables are.",
        show_default=False,
    ),
]
Dtype = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype",
        metavar="GLOB=DTYPE",
        help="What a file of NumPy or h5py has as mere bits, such as '*=bfloat16', or float8_e4m3fn. Repeatable: the"
        " last GLOB decides.",
        show_default=False,
    ),
]
AllowGuess = Annotated[bool, typer.Option("--allow-guess", help="Accept guesses of unit axes, or of what convolves.")]
AllowUnidentified = Annotated[
    bool, typer.Option("--allow-unidentified", help="Accept matrices that nothing identifies, and so are not seen.")
]

BaselineFile = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="A JSON report: fail where a variable's largest norm grew since, or a variable came or went.",
        autocompletion=files_called(".json"),
    ),
]
MaxGrowth = Annotated[
    str | None,
    typer.Option(
        "--max-growth",
        metavar="SHARE",
        help="How much a norm may grow: 5% or 0.05.  [default: 5%]",
        show_default=False,
    ),
]
AllowNew = Annotated[bool, typer.Option("--allow-new", help="Variables may be new.")]
AllowGone = Annotated[bool, typer.Option("--allow-gone", help="Variables may be gone.")]

OutputPath = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Where to write; if absent, model-renorm.h5 beside model.h5, hf-renorm beside a folder hf.",
    ),
]
RulesPath = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the bounds as rules, for --rules of the other commands.",
        autocompletion=files_called(".toml"),
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the input, in one step.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output, and existing reports.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Report what would be done; write nothing.")]
NonFinite = Annotated[
    Literal["refuse", "skip"],
    typer.Option(
        "--nonfinite",
        help="On NaN or Inf: write nothing, or leave those units alone.",
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Before it is published, read the output again and compare it with the input.",
    ),
]

Engine = Annotated[
    Literal["auto", "numpy", "tensorflow"],
    typer.Option(
        "--engine",
        help="What computes; auto is TensorFlow where a GPU is faster, else NumPy.",
    ),
]
Device = Annotated[Literal["auto", "cpu", "gpu"], typer.Option("--device", help="Where to compute.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        help="Processors that are used at once; all by default, at most 8.",
    ),
]

Reports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write the report here. The ending chooses the format: .json, .jsonl, .csv, .md, .html, .xml"
        " (JUnit), .sarif; FORMAT=FILE says it (also gitlab, github); FORMAT=- is stdout. Repeatable.",
        autocompletion=reports,
    ),
]
ForceReport = Annotated[
    bool, typer.Option("--force", help="Replace existing files; a report of ours on the same checkpoint always is.")
]
NormsFile = Annotated[
    Path | None,
    typer.Option(
        "--norms",
        metavar="FILE.npz",
        help="Also write the norm of every unit: a NumPy file with an array for each variable, by its name.",
        autocompletion=files_called(".npz"),
    ),
]
DiffReports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write the comparison here; .json, .csv, .md or .html, or FORMAT=FILE; FORMAT=- is stdout."
        " Repeatable.",
        autocompletion=reports,
    ),
]
SuggestReports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write the bounds here; .json, .csv or .md, or FORMAT=FILE; FORMAT=- is stdout. Repeatable.",
        autocompletion=reports,
    ),
]
Format = Annotated[
    ReportFormat | None,
    typer.Option("--format", help="What is printed on stdout.  [default: table]"),
]
CheckFormat = Annotated[
    ReportFormat | None,
    typer.Option(
        "--format",
        help="What is printed on stdout; by default a line for each checkpoint, and what is wrong with it.",
    ),
]
DiffFormats = Annotated[DiffFormat, typer.Option("--format", help="What is printed on stdout.")]
SuggestFormats = Annotated[SuggestFormat, typer.Option("--format", help="What is printed on stdout.")]
Sort = Annotated[
    Literal["norm", "over", "name", "size"] | None,
    typer.Option("--sort", help="The order of the table: largest first, or by name.  [default: the model's]"),
]
Top = Annotated[
    int | None,
    typer.Option(
        "--top", metavar="N", min=1, help="Only so many lines of the table, by norm if --sort says nothing else."
    ),
]
Colour = Annotated[
    Literal["auto", "always", "never"],
    typer.Option("--color", help="Colours; auto: on a terminal, or as NO_COLOR or FORCE_COLOR say."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only, and warnings about what was written.")]
