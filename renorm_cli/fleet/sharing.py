"""The processes that take whole checkpoints, as those among whom one checkpoint is shared out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from renorm_cli.errors import EngineError
from renorm_cli.fleet.pool import Job, Lost, Processes

_Given = TypeVar("_Given")
_Answer = TypeVar("_Answer")


def among(
    processes: Processes, path: str, do: Callable[[_Given], _Answer], items: Sequence[_Given]
) -> Iterator[tuple[_Given, _Answer]]:
    """Have the parts of the checkpoint at `path` done by processes: with the first two arguments bound, the `workers`
    of a verb.

    Raises EngineError where a part cannot be done: the processes that tried it died.
    """
    count = len(items)
    jobs = [Job(number, f"{path}, part {number + 1} of {count}", what=item) for number, item in enumerate(items)]
    for job, found in processes(partial(_done, do), jobs):
        if isinstance(found, Lost):
            raise EngineError(found.text)
        yield items[job.number], found


def _done(do: Callable[[Any], Any], job: Job) -> Any:
    return do(job.what)
