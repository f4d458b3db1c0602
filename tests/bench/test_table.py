"""The table of the bench tells medians of the clock and of the processors, each beside its own."""

from __future__ import annotations

from bench.measure import Cost
from bench.table import HEADERS, Row, render

OURS, PEER = (Cost(2.0, 3.0, 0), Cost(8.0, 3.5, 0), Cost(3.0, 4.0, 0)), (Cost(1.0, 1.0, 0),) * 3


def cells(row: Row) -> dict[str, str]:
    """The one row of a table, by its headers."""
    return dict(zip(HEADERS, (cell.strip() for cell in render([row]).splitlines()[-1].split("|")[1:-1]), strict=True))


def test_ratios_of_the_clock_and_of_processor_time_are_told_side_by_side() -> None:
    found = cells(Row("apply", OURS, PEER))
    assert (found["ratio"], found["CPU ratio"]) == ("3.00 (2.00 to 8.00)", "3.50 (3.00 to 4.00)")
    assert (found["ours"], found["CPU s"]) == ("3.00 (2.00 to 8.00)", "3.50")


def test_there_is_no_ratio_of_processor_time_without_a_peer_or_its_time_and_none_of_memory() -> None:
    untimed, timed = (Cost(1.0, 0.0, 1),) * 3, (Cost(1.0, 1.0, 1),) * 3
    for row in (Row("a", OURS), Row("a", OURS, untimed), Row("a", OURS, timed, memory=True)):
        assert cells(row)["CPU ratio"] == ""
