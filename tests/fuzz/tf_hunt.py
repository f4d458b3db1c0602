"""Run mutants through a parser in a child process, with an eye on time and memory."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz.tf_parsers import PARSERS
from renorm_cli.errors import RenormError

SECONDS = 5.0
"""Of the processor; ten times as many of the clock, so that a busy machine is no find and a hang is one."""
GROWTH = 300 << 20
"""Bytes by which the largest size of the process may grow over what it had before."""
_ADDRESSES = 4 << 30
_ENOUGH = 20


@dataclass
class Result:
    """Finds are (seed, number, what happened), one for each place in the code."""

    mutants: int = 0
    accepted: int = 0
    slowest: float = 0.0
    growth: int = 0
    finds: list[tuple[str, int, str]] = field(default_factory=list)


class TooSlow(BaseException):
    """Not an Exception, so that nothing on the way takes it for one."""


def mutant_of(parser: str, seed: str, number: int) -> Any:
    """Mutant `number` of a seed: the same in every run."""
    return PARSERS[parser].mutate(random.Random(f"{seed} {number}"), PARSERS[parser].seeds[seed])


def hunt(parser: str, count: int, folder: Path, first: int = 0) -> Result:
    """Mutants `first` to `first + count` of a parser, spread over its seeds, in a child process.

    `folder` is where they lie while they are tried; what is found is kept in it.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(parser, count, folder, first, theirs))
    child.start()
    theirs.close()
    try:
        result: Result = ours.recv()
    except EOFError:
        result = Result(finds=[("?", 0, "the process died")])
    child.join()
    return result


def _child(parser: str, count: int, folder: Path, first: int, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    signal.signal(signal.SIGALRM, _too_slow)
    signal.signal(signal.SIGPROF, _too_slow)
    pipe.send(_hunt(parser, count, folder, first))


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def _hunt(parser: str, count: int, folder: Path, first: int) -> Result:
    result = Result()
    scratch = folder / "scratch"
    scratch.mkdir()
    known: Counter[str] = Counter()
    size = _peak()
    for seed, number in _numbers(parser, count, first):
        mutant = mutant_of(parser, seed, number)
        began = time.process_time()
        fault = _attempt(parser, mutant, scratch, result)
        result.slowest = max(result.slowest, time.process_time() - began)
        growth = _peak() - size
        result.growth = max(result.growth, growth)
        if growth > GROWTH:
            fault = fault or f"took {growth >> 20} MiB"
            size += growth
        result.mutants += 1
        if fault is not None:
            place = fault.strip().rpartition("\n")[2][:60] + fault[-500:-100]
            known[place] += 1
            if known[place] == 1 and len(known) <= _ENOUGH:
                result.finds.append((seed, number, fault))
                (folder / f"{parser}-{seed}-{number}.pickle").write_bytes(pickle.dumps(mutant))
    return result


def _numbers(parser: str, count: int, first: int) -> Iterator[tuple[str, int]]:
    seeds = sorted(PARSERS[parser].seeds)
    for number in range(first, first + count):
        yield seeds[number % len(seeds)], number


def _attempt(parser: str, mutant: Any, scratch: Path, result: Result) -> str | None:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        PARSERS[parser].attempt(mutant, scratch)
    except RenormError as error:
        text = str(error)
        return None if "\n" not in text else f"an error of several lines: {text!r}"
    except TooSlow:
        return "too slow:\n" + traceback.format_exc()
    except Exception:  # noqa: BLE001  (all that is no RenormError is a find)
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    result.accepted += 1
    return None


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
