"""What is asked of every checkpoint of a run, in this process or in another one."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from renorm_cli import __version__
from renorm_cli.errors import (
    EngineError,
    FormatError,
    NonFiniteError,
    OutputError,
    RenormError,
    SelectionError,
    UsageError,
)
from renorm_cli.model.failure import Failure, FailureKind, Outcome
from renorm_cli.model.plan import Note
from renorm_cli.model.report import Report
from renorm_cli.model.suggestion import Suggestion

_KINDS: dict[type[RenormError], FailureKind] = {
    FormatError: "format",
    SelectionError: "selection",
    NonFiniteError: "nonfinite",
    OutputError: "output",
    EngineError: "engine",
}


class Words(Protocol):
    """How who asks spells the ways out of errors and notes."""

    def error(self, error: RenormError, of: str | None) -> str: ...

    def notes(self, notes: Iterable[Note]) -> tuple[Note, ...]: ...


class Question(NamedTuple):
    """A verb, its keywords, and the words and the command line of who asks. Can be sent to another process."""

    verb: Literal["inspect", "check", "suggest"]
    keywords: Mapping[str, Any]
    words: Words
    command: str | None = None

    def ask(self, path: str, jobs: int | None) -> Outcome:
        """The report on one checkpoint, made with so many threads, in the words of who asks.

        Raises UsageError."""
        found: Report | Failure = self._attempt(path, jobs)
        return found if isinstance(found, Failure) else self._told(found)

    def suggest(self, path: str, jobs: int | None) -> Suggestion | Failure:
        """The suggestion for one checkpoint, as `ask` has the report."""
        found: Suggestion | Failure = self._attempt(path, jobs)
        return found if isinstance(found, Failure) else replace(found, measured=self._told(found.measured))

    def _told(self, found: Report) -> Report:
        made = found.provenance and found.provenance._replace(command=self.command)
        return replace(found, notes=self.words.notes(found.notes), provenance=made)

    def _attempt(self, path: str, jobs: int | None) -> Any:
        """What the verb returns, or a Failure.

        Raises UsageError alone: it is about what is asked, and the next checkpoint would say it again.
        """
        try:
            return self._verb()(Path(path), **{**self.keywords, "jobs": jobs})
        except UsageError:
            raise
        except RenormError as error:
            return self.failure(path, _KINDS.get(type(error), "internal"), self.words.error(error, path))
        except Exception as error:  # noqa: BLE001  (a bug of ours in one checkpoint is not to cost the others)
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{path!r}: a fault of this program: {type(error).__name__} in {where.name}; please report it"
            return self.failure(path, "internal", text)

    def failure(self, path: str, kind: FailureKind, text: str) -> Failure:
        return Failure(self.verb, __version__, path, kind, text)

    def _verb(self) -> Any:
        from renorm_cli.api import verbs  # in the process that does the work

        return getattr(verbs, self.verb)
