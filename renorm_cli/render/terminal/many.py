"""What people see of many checkpoints: the worst of them, and totals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renorm_cli.model.failure import MANY, Failure, Outcome
from renorm_cli.render.problems import ranks
from renorm_cli.render.sentences import account
from renorm_cli.render.terminal.layout import Look
from renorm_cli.render.terminal.verdict import render_verdict
from renorm_cli.text import PATH_LIMIT, count_text, counted

_FINDINGS = 3
"""Findings that are listed of each."""

FAILED, BROKEN = (0,), (1, 2)
"""Kinds of a `Rank`."""

_GATE, _PLAIN = ("failed", "undecided", "violated", "hold"), ("failed", "", "with findings", "without findings")
"""What the kinds of a `Rank` are called."""


def worst_of(found: Sequence[Outcome], kinds: tuple[int, ...]) -> tuple[list[Outcome], int]:
    """The worst of these kinds of `Rank`, the very worst first, and how many more there are."""
    order = ranks(found)
    told = sorted((place, at) for at, place in enumerate(order) if place.kind in kinds)
    return [found[at] for _, at in told[:MANY]], max(0, len(told) - MANY)


def render_many(found: Sequence[Outcome], *, width: int | None, colour: bool, ascii: bool, more: str) -> Iterator[str]:
    """Write the worst checkpoints, the very worst first, how many are left out, and the totals.

    What failed is left to the caller. `width`, `colour`, `ascii` and `more` are as in `render_verdict`.
    """
    look = Look(width, colour, ascii)
    gate = found[0].command == "check"
    shown, left = worst_of(found, BROKEN if gate else (*BROKEN, 3))
    for one in shown:
        if isinstance(one, Failure):
            continue
        if gate:
            yield render_verdict(one, width=width, colour=colour, ascii=ascii, more=more, most=_FINDINGS)
        else:
            text = f"{look.quoted(one.path, PATH_LIMIT)}: {look.joined(*account(one, look.quoted))}"
            yield "".join(f"{line}\n" for line in look.folded(text, 2))
    if left:
        yield f"and {counted(left, 'more checkpoint')}; {more}\n"
    kinds, names = [kind for kind, _ in ranks(found)], _GATE if gate else _PLAIN
    parts = [f"{count_text(kinds.count(kind))} {names[kind]}" for kind in (3, 2, 1, 0) if kinds.count(kind)]
    yield f"{counted(len(kinds), 'checkpoint')}: {', '.join(parts)}\n"
