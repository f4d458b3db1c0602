"""One question asked of many checkpoints, here or in processes where that is worth it; the answers go to a journal."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from renorm_cli.fleet.discover import Item
from renorm_cli.fleet.journal import Journal
from renorm_cli.fleet.outcomes import Outcomes
from renorm_cli.fleet.pool import Job, Lost, Processes, pool
from renorm_cli.fleet.question import Question
from renorm_cli.fleet.spool import Spool
from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.model.findings import Rank, rank
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.model.suggestion import Suggestion
from renorm_cli.parallel.threads import default_jobs
from renorm_cli.render.data.json_report import line

ITEM_SECONDS, BYTES_PER_SECOND = 0.02, 4e9
"""About what a small checkpoint takes, and how fast a large one is read, with one thread."""

_WORTH_PROCESSES = 0.5
"""Seconds of work from which on processes, which take some 0.3 s to start, are worth it."""

_LARGE = 256 << 20
"""Bytes from which on a checkpoint keeps several threads busy."""


_Answered = TypeVar("_Answered")


class Watch(Protocol):
    """Is told how much there is to do, and then of each checkpoint that is done, with its line of JSON."""

    def start(self, count: int, nbytes: int) -> None: ...

    def done(self, nbytes: int, line: bytes) -> None: ...


class Answer(NamedTuple):
    """What is kept of an outcome: its line of JSON, its place among the others, and who may read its checkpoint."""

    line: bytes
    rank: Rank
    readers: Readers


def answer(question: Question, job: Job) -> Answer:
    """Ask one checkpoint. Raises UsageError."""
    return _answer(question.ask(job.path, job.threads))


def _answer(outcome: Outcome) -> Answer:
    readers = EVERYONE if isinstance(outcome, Failure) else outcome.readers
    return Answer(line(outcome).encode("ascii"), rank(outcome), readers)


def ask_all(
    question: Question,
    items: Sequence[Item],
    journal: Journal,
    watch: Watch,
    *,
    jobs: int | None = None,
    timeout: float | None = None,
    workers: Processes | None = None,
) -> Outcomes:
    """Ask all checkpoints and return the outcomes in their order; what the journal knows already is not asked again.

    `jobs` are the processors that are used at once, over checkpoints and within them. One that takes more than
    `timeout` seconds is given up. `workers` are others than the processes of this machine. Raises UsageError for a
    question that makes no sense, OutputError where the journal cannot be written, EngineError where there can be no
    process, or a cluster is gone.
    """
    outcomes, todo = Outcomes(len(items), [journal]), []
    for number, item in enumerate(items):
        known = journal.known.pop(item.path)
        if known is not None and known.answers(item.identity):
            outcomes.put(number, known)
        else:
            todo.append(number)
    gone = set(journal.known).difference(item.path for item in items)
    journal.known.clear()
    watch.start(len(todo), sum(items[number].bytes for number in todo))
    for number, told in _answers(answer, question, items, todo, jobs or default_jobs(), timeout, workers):
        found = _answer(told) if isinstance(told, Failure) else told
        outcomes.put(number, journal.add(found.line, found.rank, found.readers, items[number].identity))
        watch.done(items[number].bytes, found.line)
    journal.finish(gone, len(items))
    return outcomes


def suggest_all(
    question: Question,
    items: Sequence[Item],
    spool: Spool[Suggestion | Failure],
    watch: Watch,
    jobs: int | None = None,
) -> tuple[Readers, int]:
    """Ask all checkpoints for suggestions, which the spool gets.

    Returns who may read all that was measured, and how many failed. Raises as `ask_all` does.
    """
    readers, failed = EVERYONE, 0
    watch.start(len(items), sum(item.bytes for item in items))
    todo = range(len(items))
    for number, told in _answers(suggested, question, items, todo, jobs or default_jobs()):
        one = _suggested(told) if isinstance(told, Failure) else told
        spool.put(number, one.pickled)
        readers, failed = readers.of_both(one.readers), failed + one.failed
        watch.done(items[number].bytes, b"")
    return readers, failed


class Suggested(NamedTuple):
    """A pickled suggestion or failure, who may read its checkpoint, and whether it is a failure."""

    pickled: bytes
    readers: Readers
    failed: bool


def suggested(question: Question, job: Job) -> Suggested:
    """Ask one checkpoint for a suggestion. Raises UsageError."""
    return _suggested(question.suggest(job.path, job.threads))


def _suggested(found: Suggestion | Failure) -> Suggested:
    failed = isinstance(found, Failure)
    return Suggested(pickle.dumps(found), EVERYONE if isinstance(found, Failure) else found.measured.readers, failed)


def _answers(
    ask: Callable[[Question, Job], _Answered],
    question: Question,
    items: Sequence[Item],
    todo: Sequence[int],
    jobs: int,
    timeout: float | None = None,
    workers: Processes | None = None,
) -> Iterator[tuple[int, _Answered | Failure]]:
    """What `ask` makes of each checkpoint, or why there is no answer."""
    nbytes = sum(items[number].bytes for number in todo)
    seconds = len(todo) * ITEM_SECONDS + nbytes / BYTES_PER_SECOND
    if workers is None and timeout is None and (jobs == 1 or len(todo) == 1 or seconds < _WORTH_PROCESSES):
        yield from ((number, ask(question, Job(number, items[number].path, jobs))) for number in todo)
        return
    do, given = partial(ask, question), ordered(items, todo, jobs, split=workers is None)
    for job, found in pool(do, given, jobs, timeout) if workers is None else workers(do, given):
        yield job.number, question.failure(job.path, found.kind, found.text) if isinstance(found, Lost) else found


def ordered(items: Sequence[Item], todo: Iterable[int], jobs: int, *, split: bool = True) -> list[Job]:
    """The largest first, so that none of them is the last to end; with `split`, one that is a large part of all has all
    threads."""
    order = sorted(todo, key=lambda number: -items[number].bytes)
    share = sum(items[number].bytes for number in order) / (2 * jobs)
    alone = [split and items[number].bytes > max(share, _LARGE) for number in order]
    return [
        Job(number, items[number].path, jobs if large else 1, large) for number, large in zip(order, alone, strict=True)
    ]
