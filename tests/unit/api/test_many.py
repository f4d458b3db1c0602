"""Many checkpoints: outcomes in order, made when they are asked for, and what ends the iteration."""

from __future__ import annotations

from pathlib import Path

import pytest

from renorm_cli.api.many import Done, Failed, each
from renorm_cli.errors import FormatError, UsageError

PATHS = [Path(name) for name in ("a", "b", "c")]


def test_outcomes_come_in_order_and_an_error_is_one_of_them() -> None:
    error = FormatError("no checkpoint")

    def do(path: Path) -> str:
        if path.name == "b":
            raise error
        return path.name.upper()

    assert list(each(PATHS, do)) == [Done(PATHS[0], "A"), Failed(PATHS[1], error), Done(PATHS[2], "C")]


def test_nothing_is_done_before_it_is_asked_for() -> None:
    done: list[str] = []
    outcomes = each(PATHS, lambda path: done.append(path.name))
    assert done == []
    next(outcomes)
    assert done == ["a"]


@pytest.mark.parametrize("error", [UsageError("p is wrong"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_usage_error_and_what_is_no_error_of_ours_end_the_iteration(error: BaseException) -> None:
    done: list[str] = []

    def do(path: Path) -> None:
        done.append(path.name)
        raise error

    with pytest.raises(type(error)):
        list(each(PATHS, do))
    assert done == ["a"]
