"""The same for many checkpoints: one that fails does not keep the others from their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from renorm_cli.errors import RenormError, UsageError

Result = TypeVar("Result")


class Done(NamedTuple, Generic[Result]):
    """What was made of the checkpoint at `path`."""

    path: Path
    result: Result
    error: None = None


class Failed(NamedTuple):
    """Why nothing was made of the checkpoint at `path`."""

    path: Path
    error: RenormError


def each(paths: Iterable[Path], do: Callable[[Path], Result]) -> Iterator[Done[Result] | Failed]:
    """Do it for each checkpoint, in order, when the outcome is asked for.

    A RenormError is the outcome of its checkpoint. Only a UsageError ends the iteration: it is about how it was asked
    for, and the next checkpoint would say it again.
    """
    for path in paths:
        try:
            outcome: Done[Result] | Failed = Done(path, do(path))
        except UsageError:
            raise
        except RenormError as error:
            outcome = Failed(path, error)
        yield outcome
