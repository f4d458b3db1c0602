"""Cutting to a size: every limit holds, rows are cut whole, and the first of the least rank stay."""

from __future__ import annotations

import re

from renorm_cli.render.ci.fitting import Section, Table, fitted


def _sections() -> list[Section]:
    def table(name: str, rank: int, title: str | None = None) -> Table:
        wide = " größe" * (3 if rank == 0 else 1)
        return Table(rank, title, ("| h |", "| --- |"), [f"| {name}{number}{wide} |" for number in range(8)])

    return [
        Section((f"## {name}",), (table(f"{name}-bad-", 0), table(f"{name}-good-", 1, "8 good")), ("foot",))
        for name in ("one", "two")
    ]


WHOLE = fitted(_sections(), None)


def test_every_text_is_below_its_limit_and_accounts_for_every_row() -> None:
    texts = {limit: fitted(_sections(), limit) for limit in range(len(WHOLE.encode()) + 20)}
    assert [limit for limit, text in texts.items() if len(text.encode()) >= max(limit, 1)] == []
    for limit, text in texts.items():
        if text != WHOLE and (limit > 100 or text):
            _check(text)
    assert len(set(texts.values())) > 30


def _check(text: str) -> None:
    kept = re.findall(r"^\| (?!h |---)(\S+)(?: größe)+ \|$", text, re.MULTILINE)
    said = re.search(r"\*\*(\d+) rows are left out(?:, among them all of (\d) checkpoints)?: ", text)
    assert said is not None
    assert len(kept) + int(said[1]) == 32
    assert text.count("## ") + int(said[2] or 0) == 2
    order = [f"{name}-{kind}-{number}" for kind in ("bad", "good") for name in ("one", "two") for number in range(8)]
    assert sorted(kept, key=order.index) == [row for row in order if f"## {row[:3]}" in text][: len(kept)]


def test_without_a_limit_and_at_the_first_that_is_enough_nothing_is_cut() -> None:
    assert "left out" not in WHOLE
    assert fitted(_sections(), len(WHOLE.encode()) + 2) == WHOLE
    assert fitted(_sections(), len(WHOLE.encode()) - 1) != WHOLE
    assert fitted([], 1) == ""
