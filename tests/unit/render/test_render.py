# ruff: noqa: E501, RUF001 -- the expected tables are wide, and shapes have a multiplication sign
"""What the renderers write, word for word, and what they make of hostile names."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Note, Skip, Step
from renorm_cli.model.report import NormStats, Report, Row
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.render.columns import COLUMNS
from renorm_cli.render.data.csv_report import render_csv
from renorm_cli.render.data.json_report import render_json, report_dict
from renorm_cli.render.terminal.table import render_table

QUERY = "encoder/layers/transformer_encoder_block_3/self_attention/query/kernel"
AFTER = NormStats(0.1, 0.4, 0.45, 0.89, 0.9)


def _variable(name: str, shape: tuple[int, ...], layer: str | None = None, dtype: str = "float32") -> Variable:
    return Variable(name, f"model_weights/{name}", shape, dtype, Hint(layer=layer))


def _report(limit: float | None = 0.9, **changes: Any) -> Report:
    """One report of every kind of row; without a limit nothing is over it and nothing was bounded."""
    rule, bounded = Constraint(limit), limit is not None
    copy = dataclasses.replace(_variable(QUERY, (512, 8, 64), "EinsumDense"), key="other/query")
    copy = dataclasses.replace(_variable(QUERY, (512, 8, 64), "EinsumDense"), key="other/query")
    query = dataclasses.replace(_variable(QUERY, (512, 8, 64), "EinsumDense"), copies=("other/query",))
    rows = (
        Row(
            Step(_variable("embedding/embeddings", (20000, 128), "Embedding"), "embedding", (0,), "layer", rule),
            units=20000,
            over=0,
            nonfinite=0,
            norm=NormStats(0.0987, 0.28712, 0.2873, 0.3217, 0.37114),
            norm_after=None,
            histogram=(1, 20, 400, 4000, 9000, 5000, 500, 1),
        ),
        Row(
            Step(_variable("conv1/kernel", (3, 3, 3, 64), "Conv2D"), "kernel", (3,), "layer", rule),
            units=64,
            over=12 if bounded else 0,
            nonfinite=0,
            norm=NormStats(0.02313, 0.6714, 0.7, 1.2, 1.3444),
            norm_after=AFTER if bounded else None,
            histogram=(3, 1, 0, 20, 30, 8, 0, 2),
        ),
        Row(
            Step(query, "kernel", (1, 2), "layer", rule, (copy,)),
            units=512,
            over=512 if bounded else 0,
            nonfinite=0,
            norm=NormStats(1.23, 12.5, 12.7, 14.1, 19.98),
            norm_after=AFTER if bounded else None,
            histogram=(1, 0, 2, 200, 300, 8, 0, 1),
        ),
        Row(
            Step(_variable("head/w", (512, 1000), None, "bfloat16"), "kernel", (1,), "guess", rule),
            units=1000,
            over=0,
            nonfinite=1000,
            norm=None,
        ),
    )
    skips = (
        *(Skip(_variable(f"conv{i}/bias", (64,)), "bias", "role", "not constrained by default") for i in range(12)),
        *(Skip(_variable(f"norm{i}/gamma", (64,)), "scale", "role", "not constrained by default") for i in range(3)),
        Skip(_variable("step", (), None, "int64"), "state", "dtype", "int64 is not a floating type"),
    )
    report = Report(
        command="apply",
        version="0.1.0",
        path="runs/sentiment/model-final.weights.h5",
        format="keras-weights-h5",
        bytes=12_345_678,
        engine="numpy",
        device="cpu",
        rows=rows,
        skips=skips,
        notes=(Note("'head/w': the unit axes are a guess", warning=True), Note("the optimizer state is kept")),
        output="runs/sentiment/model-final-renorm.weights.h5",
        seconds=0.25,
    )
    return dataclasses.replace(report, **changes)


def _table(report: Report, width: int | None = None, *, colour: bool = False, ascii: bool = False) -> str:
    return render_table(report, width=width, colour=colour, ascii=ascii)


# The table

NATURAL = """\
runs/sentiment/model-final.weights.h5  keras-weights-h5 · 11.8 MiB · numpy on cpu

name                                                                       layer        shape      axes  from   dtype      units  norm min   median  norm max   after  unit norms  over  NaN/Inf
────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
embedding/embeddings                                                       Embedding    20000×128  0     layer  float32   20,000   0.09870   0.2871    0.3711  -       ▁▁▂▆█▆▂▁       0        0
conv1/kernel                                                               Conv2D       3×3×3×64   3     layer  float32       64   0.02313   0.6714    1.344   0.9000  ▃▂ ▇█▅ ▃      12        0
encoder/layers/transformer_encoder_block_3/self_attention/query/kernel ×2  EinsumDense  512×8×64   1,2   layer  float32      512   1.230    12.50     19.98    0.9000  ▁ ▁▇█▂ ▁     512        0
head/w †                                                                   -            512×1000   1     guess  bfloat16   1,000   -         -         -       -                      0    1,000
× stored so many times in this checkpoint, and counted once
† the unit axes are a guess

Skipped:
  12 bias · not constrained by default
   3 scale · not constrained by default
   1 state · int64 is not a floating type

note: the optimizer state is kept
20 variables: 4 constrained, 16 skipped · 21,576 units, 524 over 0.9, 1,000 not finite · 4 of 4 matrices; 1 with guessed unit axes: 'head/w' (512x1000)
wrote runs/sentiment/model-final-renorm.weights.h5
"""
AT_140 = """\
runs/sentiment/model-final.weights.h5  keras-weights-h5 · 11.8 MiB · numpy on cpu

name                                          shape      axes  from    units  norm min   median  norm max   after  unit norms  over  NaN/Inf
────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
embedding/embeddings                          20000×128  0     layer  20,000   0.09870   0.2871    0.3711  -       ▁▁▂▆█▆▂▁       0        0
conv1/kernel                                  3×3×3×64   3     layer      64   0.02313   0.6714    1.344   0.9000  ▃▂ ▇█▅ ▃      12        0
encoder/layers/trans…tention/query/kernel ×2  512×8×64   1,2   layer     512   1.230    12.50     19.98    0.9000  ▁ ▁▇█▂ ▁     512        0
head/w †                                      512×1000   1     guess   1,000   -         -         -       -                      0    1,000
× stored so many times in this checkpoint, and counted once
† the unit axes are a guess

Skipped:
  12 bias · not constrained by default
   3 scale · not constrained by default
   1 state · int64 is not a floating type

note: the optimizer state is kept
20 variables: 4 constrained, 16 skipped · 21,576 units, 524 over 0.9, 1,000 not finite · 4 of 4 matrices; 1 with guessed unit axes: 'head/w'
(512x1000)
wrote runs/sentiment/model-final-renorm.weights.h5
"""
AT_80 = """\
runs/sentiment/model-final.weights.h5
keras-weights-h5 · 11.8 MiB · numpy on cpu

name                               axes   units  norm max   after  over  NaN/Inf
────────────────────────────────────────────────────────────────────────────────
embedding/embeddings               0     20,000    0.3711  -          0        0
conv1/kernel                       3         64    1.344   0.9000    12        0
encoder/layers…on/query/kernel ×2  1,2      512   19.98    0.9000   512        0
head/w †                           1      1,000    -       -          0    1,000
× stored so many times in this checkpoint, and counted once
† the unit axes are a guess

Skipped:
  12 bias · not constrained by default
   3 scale · not constrained by default
   1 state · int64 is not a floating type

note: the optimizer state is kept
20 variables: 4 constrained, 16 skipped · 21,576 units, 524 over 0.9, 1,000 not
finite · 4 of 4 matrices; 1 with guessed unit axes: 'head/w' (512x1000)
wrote runs/sentiment/model-final-renorm.weights.h5
"""
AT_60 = """\
runs/sentiment/model-final.weights.h5
keras-weights-h5 · 11.8 MiB · numpy on cpu

name                         norm max   after  over  NaN/Inf
────────────────────────────────────────────────────────────
embedding/embeddings           0.3711  -          0        0
conv1/kernel                   1.344   0.9000    12        0
encoder/lay…query/kernel ×2   19.98    0.9000   512        0
head/w †                       -       -          0    1,000
× stored so many times in this checkpoint, and counted once
† the unit axes are a guess

Skipped:
  12 bias · not constrained by default
   3 scale · not constrained by default
   1 state · int64 is not a floating type

note: the optimizer state is kept
20 variables: 4 constrained, 16 skipped · 21,576 units, 524
over 0.9, 1,000 not finite · 4 of 4 matrices; 1 with guessed
unit axes: 'head/w' (512x1000)
wrote runs/sentiment/model-final-renorm.weights.h5
"""
PLAIN_ASCII = """\
runs/sentiment/model-final.weights.h5  keras-weights-h5 | 11.8 MiB | numpy on cpu

name                                                                       layer        shape      axes  from   dtype      units  norm min   median  norm max   after  unit norms  over  NaN/Inf
------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------
embedding/embeddings                                                       Embedding    20000x128  0     layer  float32   20,000   0.09870   0.2871    0.3711  -       ..:+#*:.       0        0
conv1/kernel                                                               Conv2D       3x3x3x64   3     layer  float32       64   0.02313   0.6714    1.344   0.9000  -: *#= :      12        0
encoder/layers/transformer_encoder_block_3/self_attention/query/kernel x2  EinsumDense  512x8x64   1,2   layer  float32      512   1.230    12.50     19.98    0.9000  . .*#: .     512        0
head/w ?                                                                   -            512x1000   1     guess  bfloat16   1,000   -         -         -       -                      0    1,000
x stored so many times in this checkpoint, and counted once
? the unit axes are a guess

Skipped:
  12 bias | not constrained by default
   3 scale | not constrained by default
   1 state | int64 is not a floating type

note: the optimizer state is kept
20 variables: 4 constrained, 16 skipped | 21,576 units, 524 over 0.9, 1,000 not finite | 4 of 4 matrices; 1 with guessed unit axes: 'head/w' (512x1000)
wrote runs/sentiment/model-final-renorm.weights.h5
"""


@pytest.mark.parametrize(
    ("width", "expected"), [(None, NATURAL), (140, AT_140), (80, AT_80), (60, AT_60)], ids=["none", "140", "80", "60"]
)
def test_the_table_of_an_apply_reads_word_for_word(width: int | None, expected: str) -> None:
    assert _table(_report(), width) == expected


def test_the_table_in_ascii_reads_word_for_word() -> None:
    assert _table(_report(), ascii=True) == PLAIN_ASCII


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    from rich.cells import cell_len

    lines = _table(_report(output=None), width).splitlines()
    assert max(map(cell_len, lines)) <= width


def test_the_narrowest_terminal_still_gets_what_a_check_is_about() -> None:
    for width in (1, 20, 30):
        heads = next(line for line in _table(_report(), width).splitlines() if line.startswith("name"))
        assert heads.split() == ["name", "norm", "max", "over", "NaN/Inf"]


@pytest.mark.parametrize("width", [None, 60, 140])
def test_colours_add_escapes_and_change_no_letter(width: int | None) -> None:
    coloured = _table(_report(), width, colour=True)
    bare = re.sub(r"\x1b\[[\d;]+m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == _table(_report(), width).splitlines()
    assert "\x1b[1;31m" in coloured
    assert "\x1b" not in _table(_report(), width)


def test_only_units_over_the_limit_or_not_finite_are_red() -> None:
    coloured = _table(_report(), colour=True)
    red = [text.strip() for text in re.findall(r"\x1b\[1;31m(.*?)\x1b", coloured)]
    assert [text for text in red if text.isascii()] == ["12", "512", "1,000"]
    assert "\x1b[1;31m" not in _table(_report(rows=_report().rows[:1]), colour=True)


def test_bars_over_the_limit_are_red() -> None:
    row = dataclasses.replace(_report().rows[1], norm=NormStats(0.0, 0.5, 0.5, 1.0, 1.6), histogram=(1,) * 16)
    coloured = _table(_report(rows=(row,)), colour=True)
    assert f"{'█' * 9}\x1b[1;31m{'█' * 7}\x1b[0m" in coloured


def _stacked(layers: int) -> Report:
    rule = Constraint(0.9)
    rows = tuple(
        dataclasses.replace(
            _report().rows[1],
            step=Step(
                _variable(f"encoder/layer_{number}/attention/self/query/kernel", (8, 8 + number)),
                "kernel",
                (1,),
                "layer",
                rule,
            ),
            over=number % 3,
            norm=NormStats(0.1, 0.4, 0.45, 0.89, float(number % 5)),
        )
        for number in range(layers)
    )
    return _report(rows=rows)


@pytest.mark.parametrize("width", [60, 80])
def test_names_of_a_deep_model_stay_different_on_a_narrow_terminal(width: int) -> None:
    lines = _table(_stacked(24), width).splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("name"))
    names = [line[: lines[head].index("axes")] for line in lines[head + 2 : head + 26]]
    assert len(set(names)) == 24


def names_in(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"layer_([0-9]+)/", text)]


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("norm", lambda number: -(number % 5)),
        ("over", lambda number: -(number % 3)),
        ("name", lambda number: number),
        ("size", lambda number: -number),
    ],
)
def test_rows_are_sorted_as_asked_and_cut_to_the_first(sort: Any, key: Callable[[int], int]) -> None:
    found = names_in(render_table(_stacked(12), width=None, colour=False, ascii=False, sort=sort))
    assert [key(number) for number in found] == sorted(map(key, range(12)))
    cut = render_table(_stacked(12), width=None, colour=False, ascii=False, sort=sort, top=4)
    assert names_in(cut) == found[:4]
    assert f"\nand 8 more variables, by {sort}\n" in cut
    assert cut.splitlines()[-2] == _table(_stacked(12)).splitlines()[-2]  # the totals are of all


def test_the_top_is_by_norm_where_no_order_is_asked_for() -> None:
    cut = render_table(_stacked(12), width=None, colour=False, ascii=False, top=2)
    assert names_in(cut) == [4, 9]


def test_what_is_the_same_in_all_rows_is_said_once_above_them() -> None:
    first, second, *_ = _report().rows
    head, _, titles, *_ = _table(_report(rows=(first, second))).splitlines()
    assert head.endswith("11.8 MiB · float32 · axes from layer · numpy on cpu")
    assert "dtype" not in titles
    assert "from" not in titles.split()


def test_an_inspect_without_a_limit_speaks_of_no_limit() -> None:
    text = _table(_report(None, command="inspect", output=None))
    assert "over" not in text
    assert "after" not in text
    assert text.endswith(
        "20 variables: 4 measured, 16 skipped · 21,576 units, 1,000 not finite"
        " · 4 of 4 matrices; 1 with guessed unit axes: 'head/w' (512x1000)\n"
    )


def test_a_check_ends_with_its_verdict() -> None:
    report = _report(command="check", output=None)
    first, second, third, last = report.rows
    assert _table(report).endswith(
        "\nundecided: 524 of 21,576 units over 0.9, 1,000 not finite, in 4 of 4 matrices;"
        " 1 with guessed unit axes: 'head/w' (512x1000)\n"
    )
    settled = dataclasses.replace(last, readings="fail")
    assert _table(_report(command="check", output=None, rows=(first, second, settled))).endswith(
        "\nviolated: 12 of 21,064 units over 0.9, 1,000 not finite, in 3 of 3 matrices;"
        " 1 with guessed unit axes that cannot change this: 'head/w' (512x1000)\n"
    )
    assert _table(_report(command="check", output=None, rows=(first, second))).endswith(
        "\nviolated: 12 of 20,064 units over 0.9, in 2 of 2 matrices\n"
    )
    assert _table(_report(command="check", output=None, rows=(first,))).endswith(
        "\nholds: none of 20,000 units over 0.9, in 1 of 1 matrix\n"
    )
    assert third.over == 512


def test_a_dry_run_says_that_nothing_is_written() -> None:
    text = _table(_report(dry_run=True))
    assert text.endswith("\ndry run: nothing written\n")
    assert "wrote" not in text


def test_differing_limits_and_orders_have_columns_of_their_own() -> None:
    first, second, *_ = _report().rows
    other = dataclasses.replace(
        second, step=dataclasses.replace(second.step, constraint=Constraint(1.25, PNorm(math.inf)))
    )
    lines = _table(_report(rows=(first, other))).splitlines()
    assert lines[2].split()[-3:] == ["limit", "p", "over"]
    assert lines[4].split()[-3:] == ["0.9", "2", "0"]
    assert lines[5].split()[-3:] == ["1.25", "inf", "12"]
    assert "12 over their limit" in lines[-2]


def test_one_order_other_than_two_is_said_once() -> None:
    first, *_ = _report().rows
    row = dataclasses.replace(first, step=dataclasses.replace(first.step, constraint=Constraint(0.9, PNorm(1.0))))
    assert "20,000 units (p = 1), 0 over 0.9" in _table(_report(rows=(row,)))


def test_a_report_without_rows_reads_well() -> None:
    report = _report(command="check", rows=(), skips=_report().skips[:1], notes=(), output=None)
    assert _table(report, 80) == (
        "runs/sentiment/model-final.weights.h5\n"
        "keras-weights-h5 · 11.8 MiB · numpy on cpu\n"
        "\n"
        "No variable is selected.\n"
        "\n"
        "Skipped:\n"
        "  1 bias · not constrained by default\n"
        "\n"
        "1 variable: 0 constrained, 1 skipped · 0 units, 0 not finite\n"
        "holds: nothing to check\n"
    )
    assert "The checkpoint has no variables." in _table(_report(rows=(), skips=()))


def test_a_terminal_gets_the_most_frequent_reasons_and_a_count_of_the_rest() -> None:
    skips = tuple(Skip(_variable("v", ()), "state", "role", f"reason {i}") for i in range(50)) * 2 + _report().skips
    text = _table(_report(skips=skips), 80)
    assert "  12 bias · not constrained by default\n" in text
    assert "  and 65 for 33 other reasons, all in the JSON\n" in text
    assert _table(_report(skips=skips)).count("state · reason") == 50


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5), st.integers(0, 5)), max_size=5), st.integers(0, 9))
def test_the_closing_line_accounts_for_every_variable(counts: list[tuple[int, int, int]], skipped: int) -> None:
    row = _report().rows[0]
    rows = tuple(dataclasses.replace(row, units=a, over=b, nonfinite=c) for a, b, c in counts)
    text = _table(_report(rows=rows, skips=_report().skips[:1] * skipped, output=None)).splitlines()[-1]
    text, _, matrices = text.partition(f" · {len(rows)} of {len(rows)} matri")
    assert bool(matrices) == bool(rows)
    numbers = [int(number.replace(",", "")) for number in re.findall(r"(?<![.\d])[\d,]*\d(?![.\d])", text)]
    expected = [len(rows) + skipped, len(rows), skipped, sum(a for a, _, _ in counts)]
    over = [sum(b for _, b, _ in counts)] if rows else []
    assert numbers == [*expected, *over, sum(c for _, _, c in counts)]


# JSON

NORM = {"min": float, "median": float, "mean": float, "p95": float, "max": float}
COUNTS = ("variables", "constrained", "skipped", "units", "over", "nonfinite", "under", "negative")
COUNTS += ("matrices", "identified", "measured", "elements")
TOTALS = dict.fromkeys(COUNTS, int) | {"share": (float, None), "copies": int}
DECLARED = {
    "kind": str,
    "class": str,
    "limit": (float, None),
    "low": (float, None),
    "rate": float,
    "axis": ([int], None),
    "problem": (str, None),
}
SPECTRAL = {
    "matrix": [int],
    "matrices": int,
    **dict.fromkeys(("norm", "lower"), float),
    **dict.fromkeys(("upper", "frobenius", "stable_rank", "rms_norm"), (float, None)),
    "operator": ({"lower": float, "upper": (float, None)}, None),
    "effective_rank": (float, None),
    "condition": (float, ">1e6", None),
    "alpha": ({"alpha": float, "xmin": float, "distance": float}, None),
    "histogram": ({"low": float, "high": float, "counts": [int]}, None),
}
VARIABLE = {
    "name": str,
    "key": str,
    "copies": [str],
    "aliases": [str],
    "layer": (str, None),
    "status": str,
    "role": str,
    "shape": [int],
    "dtype": str,
    "unit_axes": [int],
    "axis_source": str,
    "conflict": (str, None),
    "readings": (str, None),
    "coverage": (str, None),
    "limit": (float, None),
    "low": (float, None),
    "tolerance": float,
    "norm_kind": str,
    "p": (float, "inf", None),
    "per": str,
    "units": int,
    "over": int,
    "nonfinite": int,
    "under": int,
    "negative": int,
    "excess": (float, None),
    "norm": (NORM, None),
    "norm_after": (NORM, None),
    "histogram": [int],
    "histogram_range": [float],
    "worst": [{"index": [int], "norm": (float, None)}],
    "declared": (DECLARED, None),
    "spectral": (SPECTRAL, None),
}
SKIPPED = {"name": str, "key": str, "copies": [str], "layer": (str, None), "shape": [int], "dtype": str, "role": str}
SKIPPED |= {"code": str, "reason": str}
SKIPPED |= {"coverage": (str, None)}
GROWTH = {"name": str, "kind": str, "before": (float, None), "after": (float, None)}
BASELINE = {"path": str, "max_growth": float, "growths": [GROWTH]}
SCHEMA = {
    "schema_version": int,
    "tool": str,
    "version": str,
    "command": str,
    "source": {"path": str, "format": str, "bytes": int},
    "output": (str, None),
    "dry_run": bool,
    "verdict": (str, None),
    "allowed": [str],
    "engine": str,
    "device": str,
    "totals": TOTALS,
    "joint": None,
    "variables": [VARIABLE],
    "skipped": [SKIPPED | {"declared": (DECLARED, None)}],
    "baseline": (BASELINE, None),
    "notes": [{"text": str, "warning": bool, "doubt": bool}],
    "seconds": float,
    "provenance": ({"started": str, "command": (str, None), "sha256": (str, None), "versions": {"numpy": str}}, None),
}


def _misfit(value: Any, schema: Any, where: str = "") -> str | None:
    """Say where a parsed JSON value departs from a schema of types, lists, dicts and (this, or that)."""
    if isinstance(schema, tuple):
        found = [_misfit(value, option, where) for option in schema]
        return None if None in found else found[0]
    if isinstance(schema, list):
        found = [_misfit(item, schema[0], f"{where}[{i}]") for i, item in enumerate(value)]
        return next((misfit for misfit in found if misfit), None) if isinstance(value, list) else where
    if isinstance(schema, dict):
        if not isinstance(value, dict) or list(value) != list(schema):
            return where or "top"
        found = [_misfit(value[key], schema[key], f"{where}.{key}") for key in schema]
        return next((misfit for misfit in found if misfit), None)
    fits = type(value) is schema if isinstance(schema, type) else value == schema
    return None if fits else where


def _json(reports: Sequence[Report]) -> str:
    return "".join(render_json(reports))


def _strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert text.isascii()
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("limit", [None, 0.9])
def test_the_json_has_exactly_the_fields_of_its_schema(limit: float | None) -> None:
    record = _strict(_json([_report(limit)]))
    assert _misfit(record, SCHEMA) is None
    del record["variables"][1]["p"]
    assert _misfit(record, SCHEMA) == ".variables[1]"  # the check can fail


def test_the_json_says_what_the_report_says() -> None:
    report = _report()
    record = _strict(_json([report]))
    assert record == report_dict(report)
    assert record["schema_version"] == 1
    assert record["tool"] == "renorm-ckpt"
    assert record["source"] == {"path": report.path, "format": "keras-weights-h5", "bytes": 12_345_678}
    assert record["output"] == report.output
    assert record["totals"] == report.totals._asdict()
    assert record["totals"]["variables"] == len(record["variables"]) + len(record["skipped"])
    assert record["notes"] == [
        {"text": note.text, "warning": note.warning, "doubt": note.doubt} for note in report.notes
    ]
    assert record["seconds"] == 0.25
    for found, row in zip(record["variables"], report.rows, strict=True):
        variable = row.step.variable
        for field in ("name", "key", "layer", "dtype"):
            assert found[field] == getattr(variable, field)
        assert (found["shape"], found["copies"], found["aliases"]) == (
            list(variable.shape),
            [copy.key for copy in row.step.copies],
            list(variable.aliases),
        )
        assert (found["role"], found["unit_axes"], found["axis_source"]) == (
            row.step.role,
            list(row.step.unit_axes),
            row.step.axis_source,
        )
        assert (found["limit"], found["p"]) == (0.9, 2.0)
        assert (found["units"], found["over"], found["nonfinite"]) == (row.units, row.over, row.nonfinite)
        assert found["histogram"] == list(row.histogram)
        edges = [row.norm.min, row.norm.max] if row.norm and row.histogram else []
        assert found["histogram_range"] == edges
        for key in ("norm", "norm_after"):
            stats = getattr(row, key)
            assert found[key] == (None if stats is None else stats._asdict())
    for found, skip in zip(record["skipped"], report.skips, strict=True):
        assert found == {
            "name": skip.variable.name,
            "key": skip.variable.key,
            "copies": [],
            "layer": skip.variable.layer,
            "shape": list(skip.variable.shape),
            "dtype": skip.variable.dtype,
            "role": skip.role,
            "code": skip.code,
            "reason": skip.reason,
            "coverage": None,
            "declared": None,
        }


def test_infinities_are_written_as_json_can_write_them() -> None:
    first, *_ = _report().rows
    row = dataclasses.replace(
        first,
        step=dataclasses.replace(first.step, constraint=Constraint(None, PNorm(math.inf), "tensor"), unit_axes=()),
        norm=NormStats(1e308, 1.5e308, math.inf, 1.6e308, 1.7e308),
    )
    found = _strict(_json([_report(rows=(row,))]))["variables"][0]
    assert (found["limit"], found["p"], found["per"]) == (None, "inf", "tensor")
    assert (found["norm"]["mean"], found["norm"]["max"]) == (None, 1.7e308)


def test_several_reports_are_an_array_and_one_is_an_object() -> None:
    one, two = _report(), _report(None)
    assert _strict(_json([one, two])) == [report_dict(one), report_dict(two)]
    assert _strict(_json([])) == []
    assert isinstance(_strict(_json([one])), dict)


def test_every_variable_has_a_line_of_its_own() -> None:
    lines = _json([_report()]).splitlines()
    assert sum('"name": ' in line for line in lines) == 20
    assert all(line.count('"name": ') <= 1 for line in lines)


# CSV


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_the_csv_read_back_says_what_the_report_says() -> None:
    report = _report()
    lines = _read("".join(render_csv([report])))
    assert [line["name"] for line in lines] == [
        *(row.step.variable.name for row in report.rows),
        *(skip.variable.name for skip in report.skips),
    ]
    assert {line["path"] for line in lines} == {report.path}
    assert next(iter(lines[0])) == "path"
    for line, row in zip(lines, report.rows, strict=False):
        assert (line["status"], line["reason"], line["role"]) == ("constrained", "", row.step.role)
        assert line["shape"] == "x".join(map(str, row.step.variable.shape))
        assert line["unit_axes"] == " ".join(map(str, row.step.unit_axes))
        assert line["layer"] == (row.step.variable.layer or "")
        assert (int(line["units"]), int(line["over"]), int(line["nonfinite"])) == (row.units, row.over, row.nonfinite)
        assert (float(line["limit"]), float(line["p"])) == (0.9, 2.0)
        assert line["histogram"] == " ".join(map(str, row.histogram))
        for prefix, stats in (("norm", row.norm), ("norm_after", row.norm_after)):
            for name in ("min", "median", "mean", "p95", "max"):
                expected = "" if stats is None else repr(getattr(stats, name))
                assert line[f"{prefix}_{name}"] == expected
    for line, skip in zip(lines[len(report.rows) :], report.skips, strict=True):
        assert (line["status"], line["reason"], line["role"]) == ("skipped", skip.reason, skip.role)
        assert (line["key"], line["dtype"]) == (skip.variable.key, skip.variable.dtype)
        assert {line[name] for name in ("units", "over", "limit", "norm_max", "histogram")} == {""}


def test_the_csv_of_several_reports_has_one_header() -> None:
    lines = _read("".join(render_csv([_report(path="a.h5"), _report(None, path="b.h5")])))
    assert [line["path"] for line in lines] == ["a.h5"] * 20 + ["b.h5"] * 20
    assert {line["limit"] for line in lines[20:24]} == {""}
    assert "".join(render_csv([])).count("\n") == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "\uff1d"])
def test_a_formula_becomes_text_and_a_number_stays_a_number(start: str) -> None:
    row = _report().rows[0]
    named = dataclasses.replace(row, step=dataclasses.replace(row.step, variable=_variable(f"{start}1+1", (2,))))
    line = _read("".join(render_csv([_report(rows=(named,))])))[0]
    assert line["name"].startswith("'")
    assert not line["norm_min"].startswith("'")


def test_column_keys_are_unique_and_in_the_order_of_the_table() -> None:
    keys = [column.key for column in COLUMNS]
    assert len(set(keys)) == len(keys)
    titles = [column.title for column in COLUMNS if column.rank is not None]
    heads = re.split("  +", _table(_report()).splitlines()[2])
    assert heads == [title for title in titles if title in heads]


# Hostile names

HOSTILE = [
    "a\x1b[2J\x1b]0;title\x07b",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "a\nb\r\nc\x85d\u2028e",
    "a\u202egpj.b\u2066\u200b",
    "[red]a",
    "[/nope]",
    ":smile:",
    "=cmd()",
    "@SUM(1,2);=1",
    'a","b',
    "::error::injected",
    "  ::set-output name=x::y",
    "##[error]injected",
    "##vso[task.setvariable]x",
    b"caf\xe9\xff".decode("utf-8", "surrogateescape"),
    "\ud800 alone",
    "n" * 100_000,
    "\u0301" * 300,
    "核" * 200,
    "",
]


def _hostile(name: str) -> Report:
    variable = Variable(name, name, (2, 3), name or "float32", Hint(layer=name), aliases=(name,), copies=(name,))
    step = dataclasses.replace(_report().rows[1].step, variable=variable, axis_source="guess", copies=(variable,))
    row = dataclasses.replace(_report().rows[1], step=step)
    skip = Skip(variable, "bias", "role", name, (variable,))
    return _report(
        path=name,
        format=name,
        engine="numpy",
        device=name,
        rows=(row,),
        skips=(skip,),
        notes=(Note(name),),
        output=name,
    )


def _is_printable_lines(text: str) -> bool:
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return not any(unicodedata.category(char) in hidden for char in text.replace("\n", ""))


def _commands_a_runner(text: str) -> bool:
    return any(re.match(r"\s*::", line) or re.search(r"##\w*\[", line) for line in text.splitlines())


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
@pytest.mark.parametrize("width", [None, 20, 60, 140])
@pytest.mark.parametrize("plain", [False, True], ids=["unicode", "ascii"])
def test_a_hostile_name_in_a_table_is_only_text(name: str, width: int | None, plain: bool) -> None:
    text = _table(_hostile(name), width, ascii=plain)
    assert _is_printable_lines(text)
    assert not _commands_a_runner(text)
    assert text.isascii() or not plain
    if width is None:
        footnotes = 0 if name.isascii() else 1
        assert text.count("\n") == _table(_hostile("x"), ascii=plain).count("\n") + footnotes
    assert len(text) < 10_000
    if name.startswith(("[", ":s")):
        assert name in text


def test_the_check_for_hostile_text_can_fail() -> None:
    assert not _is_printable_lines("a\x1b")
    assert not _is_printable_lines("a\u202e")
    assert _commands_a_runner("ok\n  ::error::x")
    assert _commands_a_runner("a ##[error]")


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_hostile_name_in_csv_is_only_text_in_its_cell(name: str) -> None:
    text = "".join(render_csv([_hostile(name)]))
    assert _is_printable_lines(text)
    assert not _commands_a_runner(text)
    lines = _read(text)
    assert [line["status"] for line in lines] == ["constrained", "skipped"]
    assert text.count("\n") == 3
    for line in lines:
        for cell in line.values():
            assert not cell.lstrip().startswith(("=", "+", "-", "@"))
            assert len(cell) < 32_767


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_hostile_name_in_json_is_exact(name: str) -> None:
    text = _json([_hostile(name)])
    assert _is_printable_lines(text)
    record = _strict(text)
    places = [
        *((record["variables"][0], key) for key in ("name", "key", "layer")),
        *((record["skipped"][0], key) for key in ("name", "key", "reason")),
        (record["source"], "path"),
        (record, "output"),
        (record["notes"][0], "text"),
    ]
    for place, key in places:
        assert _decoded(place[key], place.get(f"{key}_base64")) == name
    for key in ("aliases", "copies"):
        listed = record["variables"][0]
        assert _decoded(listed[key][0], listed.get(f"{key}_base64", [None])[0]) == name


def _decoded(text: str, encoded: str | None) -> str:
    """Take a name from the JSON as a reader would; the text beside base64 must be valid Unicode, too."""
    text.encode("utf-8")
    if encoded is None:
        return text
    raw = base64.b64decode(encoded, validate=True)
    return raw.decode("utf-8", "surrogatepass" if b"\xed\xa0" in raw else "surrogateescape")


@given(st.text(st.characters(exclude_categories=())))
def test_any_name_leaves_every_renderer_safe(name: str) -> None:
    report = _hostile(name)
    renderers: tuple[Callable[[], str], ...] = (
        lambda: _table(report),
        lambda: _table(report, 80),
        lambda: "".join(render_csv([report])),
        lambda: _json([report]),
    )
    for render in renderers:
        text = render()
        assert _is_printable_lines(text)
        text.encode("utf-8")
    assert _strict(_json([report]))["totals"]["variables"] == 2
    assert len(_read("".join(render_csv([report])))) == 2
