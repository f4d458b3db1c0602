"""Reports for tests of the renderers: made by hand, and with hostile text wherever a file can put text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from hypothesis import strategies as st

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.plan import Note, Skip, Step
from renorm_cli.model.report import Baseline, Growth, NormStats, Report, Row, UnitNorm
from renorm_cli.model.variable import Hint, Variable

HOSTILE = [
    "a\x1b[2J\x1b]0;title\x07b",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "a\nb\r\nc\x85d\u2028e",
    "a\u202egpj.b\u2066\u200b",
    "\0\x01\x08\x0b\x0c\x7f\ufffe\uffff",
    "::error::injected",
    "  ::set-output name=x::y",
    "a\n::error::injected",
    "##[error]injected",
    "##vso[task.setvariable]x",
    "100%25%0A::error::x,file=y:z",
    b"caf\xe9\xff".decode("utf-8", "surrogateescape"),
    "\ud800 alone",
    "<script>alert(1)</script>",
    "</details></summary><img src=x onerror=alert(1)>",
    "a|b\\|c\\",
    "|",
    "`",
    "``a` b```",
    " blanks ",
    "   ",
    "[a](http://evil.example)",
    "![a](http://evil.example/x.png)",
    "[1]: http://evil.example",
    "http://evil.example www.evil.example me@evil.example",
    "@octocat #123 GH-1 octo/repo#1 deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    "**bold** _it_ ~~no~~ $x$ $`x`$",
    "# heading",
    "\n\n# heading\n\n- [ ] task",
    "| --- |",
    "&lt;b&gt; &#64; &amp;",
    "]]><evil/>",
    "\"'><&",
    "{0} [link](1) {{",
    "=cmd()",
    "größe/核",
    "n" * 100_000,
    "\u0301" * 300,
    "",
]
ANY = st.text(st.characters(exclude_categories=()))
"""Every code point, lone surrogates included."""

PLAIN = "dense/kernel"


def a_row(
    name: str,
    largest: float = 2.0,
    limit: float | None = 1.0,
    *,
    key: str | None = None,
    over: int | None = None,
    nonfinite: int = 0,
) -> Row:
    """A kernel of 8 units whose largest norm is `largest`."""
    variable = Variable(name, f"layers/{name}" if key is None else key, (4, 8), "float32", Hint(layer="Dense"))
    count = over if over is not None else int(limit is not None and largest > limit)
    return Row(
        Step(variable, "kernel", (1,), "layer", Constraint(limit)),
        units=8,
        over=count,
        nonfinite=nonfinite,
        norm=NormStats(0.1, 0.5, 0.6, largest, largest),
        histogram=(1, 0, 3, 4),
        worst=(UnitNorm((3,), largest),),
    )


def a_skip(name: str, reason: str = "not constrained by default") -> Skip:
    return Skip(Variable(name, f"layers/{name}", (8,), "float32", Hint(layer="Dense")), "bias", "role", reason)


def a_report(rows: Sequence[Row] = (), skips: Sequence[Skip] = (), **changes: Any) -> Report:
    facts: dict[str, Any] = {
        "command": "check",
        "version": "0.1.0",
        "path": "runs/model.weights.h5",
        "format": "keras-weights-h5",
        "bytes": 12_345_678,
        "engine": "numpy",
        "device": "cpu",
        "seconds": 0.25,
    }
    return Report(**{**facts, **changes, "rows": tuple(rows), "skips": tuple(skips)})


def hostile_report(name: str, command: Literal["apply", "inspect", "check"] = "check") -> Report:
    """A report with `name` wherever a file, or a path, can have its own text."""
    variable = Variable(name, name, (2, 3), name or "?", Hint(layer=name), aliases=(name,), copies=(name,))
    row = a_row(name, 2.0)
    step = Step(variable, "kernel", (1,), "guess", Constraint(1.0), (variable,))
    return a_report(
        [Row(step, row.units, row.over, 1, row.norm, histogram=row.histogram, worst=row.worst, readings="fail")],
        [Skip(variable, "bias", "role", name, (variable,))],
        command=command,
        path=name,
        format=name,
        device=name,
        notes=(Note(name),),
        output=name,
        baseline=Baseline(name, 0.05, (Growth(f"{name}+", "appeared", None, 1.0),)),
    )


def unescaped(shown: str) -> str:
    """What `\\u{..}` stands for."""
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), shown)


def has_only_printable_lines(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def commands_a_runner(text: str) -> bool:
    """Whether a CI runner would take a line for a command."""
    return any(re.match(r"\s*::", line) or re.search(r"##\w*\[", line) for line in text.splitlines())
