"""Many checkpoints: options to items, items to outcomes, outcomes to reports and an exit code."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from renorm_cli import __version__
from renorm_cli.cli import again, groups, words
from renorm_cli.cli.output import Lines, exit_code, rendered, rendered_suggestions, show, show_suggestions
from renorm_cli.cli.signals import Stopped, Written, untouched
from renorm_cli.cli.targets import refuse_journal, refuse_taken, targets
from renorm_cli.cli.terminal import Meter, print_text, progress, warn
from renorm_cli.errors import EngineError, UsageError
from renorm_cli.fleet import drive
from renorm_cli.fleet.discover import Item, Search, Shard, item_at
from renorm_cli.fleet.journal import Journal
from renorm_cli.fleet.outcomes import merged
from renorm_cli.fleet.pool import Processes
from renorm_cli.fleet.question import Question
from renorm_cli.fleet.spool import Spool
from renorm_cli.model.failure import MANY, Failure
from renorm_cli.model.suggestion import Suggestion
from renorm_cli.render.registry import SUGGEST_FORMATS
from renorm_cli.storage.staging import save
from renorm_cli.text import bytes_text, count_text, counted
from renorm_cli.text import show as show_name

if TYPE_CHECKING:
    from renorm_cli.run.shares import Workers

_LONGEST_PATH = 1 << 16
_MOST_PATHS, _MOST_BYTES = 4_000_000, 1 << 30
"""Lines and bytes of a list of paths, at most: a stream may be endless."""
_LONGEST_TIME = 1_000_000
"""Seconds that a checkpoint may take: some more, and the system cannot wait as long."""
_OTHER_FILES = 64
"""Files that are open beside journals, at most."""
_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_FILES = ("rules", "baseline")
"""Options that name a file whose content is part of the question."""


def examine_all(
    verb: Literal["inspect", "check"],
    paths: Sequence[Path],
    searched: groups.Searched,
    kept: groups.Kept,
    clustered: groups.Clustered,
    asked: Mapping[str, Any],
    said: Sequence[Any],
    reporting: groups.InspectReporting | groups.GateReporting,
    taken: Sequence[Path | None],
    lines: Lines,
) -> int:
    """Ask all checkpoints, and report; returns the exit code. `said` are the groups of options that ask."""
    shard = _shard(kept.shard)
    _refuse_endless(kept.timeout)
    items = _found(paths, searched, shard)
    if searched.only_list:
        return 0
    if getattr(reporting, "norms", None) is not None and len(items) > 1:
        raise UsageError(f"--norms writes the norms of one checkpoint, {len(items)} are given; give one")
    if lines != Lines() and len(items) > MANY:
        raise UsageError(
            f"--sort and --top are for tables, and of more than {MANY} checkpoints the worst are listed instead,"
            f" {len(items)} are given; leave them out"
        )
    about = [Path(item.path) for item in items] if reporting.report else []
    files = targets(reporting, [*about, *taken], journals=[kept.journal])
    refuse_taken(files, about, force=reporting.force)
    refuse_journal(kept.journal, [*(Path(item.path) for item in items), *taken])
    question = Question(verb, asked, words.spoken(), again.command_line())
    processes = _cluster(clustered, asked, items[0], kept.timeout) if items else None
    head = _head(verb, said, searched, paths, shard)
    journal = Journal.temporary(head) if kept.journal is None else Journal.continued(kept.journal, head)
    with closing(journal):
        stream = reporting.format == "jsonl" and not reporting.quiet
        with _stoppable(items, journal, [file.path for file in files]):
            with progress("", reporting) as meter:
                watch = _Watch(meter, stream=stream)
                how: dict[str, Any] = {"jobs": asked.get("jobs"), "timeout": kept.timeout}
                found = drive.ask_all(question, items, journal, watch, **how, workers=processes)
            save(rendered(found, files), readers=found.readers)
            printing = reporting._replace(quiet=True) if stream else reporting
            show(found, printing, files, gate=verb == "check", lines=lines)
        return exit_code(found)


def suggest_all(
    paths: Sequence[Path],
    searched: groups.Searched,
    asked: Mapping[str, Any],
    reporting: groups.SuggestReporting,
    taken: Sequence[Path | None],
    *,
    force: bool,
) -> int:
    """Suggest for each checkpoint; returns the exit code."""
    items = _found(paths, searched)
    if searched.only_list:
        return 0
    if asked.get("output") is not None and len(items) > 1:
        raise UsageError(f"-o writes the rules of one checkpoint, {len(items)} are given; give one")
    about = [Path(item.path) for item in items]
    files = targets(reporting, [*about, *taken], SUGGEST_FORMATS)
    refuse_taken(files, about, force=force)
    question = Question("suggest", asked, words.spoken(), again.command_line())
    with (
        closing(Spool[Suggestion | Failure](len(items))) as found,
        _stoppable(items, files=[file.path for file in files]),
    ):
        with progress("", reporting) as meter:
            readers, failed = drive.suggest_all(question, items, found, _Watch(meter), asked.get("jobs"))
        save(rendered_suggestions(found, files), readers=readers)
        show_suggestions(found, reporting, files)
    return 2 if failed else 0


def report_all(journals: Sequence[Path], reporting: groups.GateReporting) -> int:
    """Report what is in the journals; returns the exit code that one run would have had."""
    _allow_open(len(journals) + _OTHER_FILES)
    with ExitStack() as opened:
        read = [opened.enter_context(closing(Journal.read(path))) for path in journals]
        about = [Path(path) for one in read for path in one.known]
        files = targets(reporting, about, journals=journals)
        refuse_taken(files, about, force=reporting.force)
        found = merged(read)
        save(rendered(found, files), readers=found.readers)
        show(found, reporting, files, gate=len(found) > 0 and found[0].command == "check")
        return exit_code(found)


def _allow_open(count: int) -> None:
    """Let this process have so many files open, as far as the system allows: often 1024 are unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        with suppress(OSError, ValueError):  # opening the first that is too many will say it
            most = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def sharing(clustered: groups.Clustered, asked: Mapping[str, Any], path: Path) -> Workers | None:
    """Who does the parts of one checkpoint. Raises UsageError where it cannot be a cluster."""
    from renorm_cli.fleet.sharing import among

    processes = _cluster(clustered, asked, item_at(str(path.absolute())))
    return None if processes is None else partial(among, processes, str(path))


def _cluster(
    clustered: groups.Clustered, asked: Mapping[str, Any], first: Item, timeout: float | None = None
) -> Processes | None:
    """The cluster that is asked for. Raises UsageError where it cannot be one."""
    if clustered.cluster is None:
        if clustered.cluster_insecure:
            raise UsageError("--cluster-insecure is about a cluster; give one with --cluster")
        return None
    from renorm_cli.fleet.cluster import check_address, cluster

    if asked.get("engine") == "tensorflow" or asked.get("device") == "gpu":
        raise UsageError("--cluster computes with NumPy on its workers; leave out --engine and --device")
    check_address(clustered.cluster, insecure=clustered.cluster_insecure)
    return partial(cluster, address=clustered.cluster, first=first, timeout=timeout, tell=warn)


def _shard(given: Sequence[str] | None) -> Shard | None:
    """Read `3/64`. Raises UsageError for anything else, such as a part 0, and for several."""
    if not given:
        return None
    if len(given) > 1:
        raise UsageError(f"--shard is given {len(given)} times, and one run takes one part; give it once")
    (text,) = given
    found = _SHARD.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text!r}: a part and the number of parts were expected, from 1/N to N/N")
    return Shard(int(found[1]), int(found[2]))


def _refuse_endless(timeout: float | None) -> None:
    """Raise UsageError for NaN and for what no system can wait for."""
    if timeout is not None and not timeout <= _LONGEST_TIME:
        most = count_text(_LONGEST_TIME)
        raise UsageError(f"--timeout {timeout:g}: at most {most} seconds were expected; or leave it out")


def _found(paths: Sequence[Path], searched: groups.Searched, shard: Shard | None = None) -> list[Item]:
    """The checkpoints that are asked for, or where only a list is, none, once it is printed.

    Raises UsageError where there are none.
    """
    search = Search(searched.match or (), searched.skip or (), recursive=searched.recursive)
    found = search.items(_paths(paths, searched.listed))
    if not searched.only_list:
        items = list(found)
        if not items:
            raise UsageError(", ".join(["no checkpoint was found", *_others(search)]) + "; see --list")
        if shard is None:
            return items
        mine = list(filter(shard.has, items))
        if not mine:
            warn(f"part {shard.number} of {shard.of} has none of {counted(len(items), 'checkpoint')}; nothing to do")
        return mine
    count = nbytes = 0
    for item in found if shard is None else filter(shard.has, found):
        count, nbytes = count + 1, nbytes + item.bytes
        print_text(f"{bytes_text(item.bytes):>10}  {show_name(item.path, _LONGEST_PATH)}\n")
    rest = ", ".join(_others(search))
    print_text(f"{counted(count, 'checkpoint')}, {bytes_text(nbytes)}{'; ' if rest else ''}{rest}\n")
    return []


def _others(search: Search) -> list[str]:
    """What was found besides, as phrases."""
    left_out = [f"{counted(search.left_out, 'checkpoint')} left out by --match or --skip"] if search.left_out else []
    return left_out + ([f"{counted(search.passed, 'other file')} passed over"] if search.passed else [])


def _paths(paths: Sequence[Path], listed: Path | None) -> Iterator[str]:
    yield from map(str, paths)
    if listed is None:
        return
    try:
        if str(listed) == "-":
            yield from _names(sys.stdin.buffer, "--from -")
        else:
            with listed.open("rb") as file:
                yield from _names(file, f"--from {str(listed)!r}")
    except OSError as error:
        raise UsageError(f"--from {str(listed)!r} cannot be read: {error.strerror}") from None


def _names(file: IO[bytes], shown: str) -> Iterator[str]:
    """The names in a file, each with a NUL after it where there is any, else one on each line."""
    rest = file.read(_LONGEST_PATH)
    end = b"\0" if b"\0" in rest else b"\n"
    count, nbytes = 0, len(rest)
    while rest:
        *names, rest = rest.split(end)
        count += len(names)
        if count > _MOST_PATHS or nbytes > _MOST_BYTES:
            raise UsageError(
                f"{shown} has more than {count_text(_MOST_PATHS)} lines or {bytes_text(_MOST_BYTES)}, as an endless"
                " stream has; give a list of paths, or parts of it to several runs"
            )
        yield from (os.fsdecode(name) for name in names if name)
        if len(rest) >= _LONGEST_PATH:
            raise UsageError(f"{shown} has a name of more than {_LONGEST_PATH} bytes; no path is as long")
        more = file.read(_LONGEST_PATH)
        if not more:
            if rest:
                yield os.fsdecode(rest)
            return
        rest += more
        nbytes += len(more)


def _head(
    verb: str, said: Sequence[Any], searched: groups.Searched, paths: Sequence[Path], shard: Shard | None
) -> dict[str, Any]:
    """What is asked, for the first line of a journal: a run goes on only with the same."""
    options = {name: value for group in said for name, value in group._asdict().items() if value not in (None, False)}
    where = {"folders": [str(path) for path in paths]} if searched.recursive else {}
    which = {"match": searched.match, "skip": searched.skip}
    return {
        "version": __version__,
        "command": verb,
        "options": {name: _content(name, value) for name, value in options.items()},
        "checkpoints": where | {name: value for name, value in which.items() if value},
        "shard": None if shard is None else list(shard),
    }


def _content(name: str, value: Any) -> Any:
    """An option in JSON; of a file, what is in it."""
    if name in _FILES:
        return {"sha256": hashlib.sha256(Path(value).read_bytes()).hexdigest()}
    if name == "like":
        item = item_at(str(value))
        return {"path": item.path, "identity": item.identity}
    return list(value) if isinstance(value, tuple) else value


class _Watch:
    """Shows the progress over checkpoints and bytes, and prints lines of JSON as soon as they are there."""

    def __init__(self, meter: Meter, *, stream: bool = False) -> None:
        self.stream = stream
        self._meter = meter
        self._count = self._done = 0

    def start(self, count: int, nbytes: int) -> None:
        self._count = count
        self._meter.start(nbytes, "reading")

    def done(self, nbytes: int, line: bytes) -> None:
        self._done += 1
        self._meter.say(f"{count_text(self._done)} of {counted(self._count, 'checkpoint')}")
        self._meter.advance(nbytes)
        if self.stream:
            print_text(line.decode("ascii") + "\n")


@contextmanager
def _stoppable(items: Sequence[Item], journal: Journal | None = None, files: Sequence[Path] = ()) -> Iterator[None]:
    """Say of a signal in this block what became of the files, and where the run goes on."""
    first = Path(items[0].path if items else ".")  # a part may be empty
    try:
        with untouched([first] * max(1, len(items)), [Written(path, path) for path in files]):
            yield
    except EngineError as error:  # the cluster is gone, or no process can be started
        if journal is None or not journal.shown:
            raise
        raise EngineError(f"{error.text}; the same command goes on where the journal {journal.shown!r} ends") from None
    except Stopped as stopped:
        if journal is not None and journal.shown:
            stopped.files += f"; the same command goes on where the journal {journal.shown!r} ends"
        raise
