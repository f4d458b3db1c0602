"""How output gets its name: written beside the target under a temporary one, flushed to disk, then renamed.

A killed run leaves the old file or the new one, never a part; at worst a `.renorm-*` file stays, which the next run
on the same output removes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from renorm_cli.errors import OutputError
from renorm_cli.formats.disk import journal
from renorm_cli.formats.disk.bytes import Span, copy_range, without
from renorm_cli.formats.disk.exchange import exchange
from renorm_cli.formats.disk.files import SourceFile, open_source, reason
from renorm_cli.formats.disk.staged import Staged, unwritten


class Staging:
    """A set of files that get their names together, in the order they were created, when the `with` block ends well.

    Raises OutputError wherever the system refuses; then, and on any other way out, nothing of it stays.
    """

    def __init__(
        self,
        *,
        force: bool = False,
        protected: Iterable[Path] = (),
        advance: Callable[[int], None] = lambda nbytes: None,
    ) -> None:
        """With `force`, existing targets are replaced; `protected` files, the inputs, never are."""
        self._force = force
        self._protected = frozenset(os.path.realpath(path) for path in protected)
        self._advance = advance
        self._parts: list[Staged] = []
        self._companions: list[Staged] = []
        self._open: list[int] = []
        self._temporaries: list[Path] = []
        self._trees: list[tuple[Path, Path]] = []

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        except OSError as failed:
            raise unwritten(failed) from None
        finally:
            self._discard()

    def create(self, target: Path) -> Staged:
        """A new empty file that will become `target`; an existing one is refused unless forced.

        The mode is that of the file it replaces, else what the process's umask leaves.
        """
        staged = self._create(target, False)
        self._parts.append(staged)
        return staged

    def tree(self, target: Path) -> Path:
        """A new folder that will become `target` as a whole; what is in it by then is up to the caller.

        Files are created in it by the same methods. An existing `target` is exchanged, not merged.
        """
        if os.path.lexists(target) and not self._force:
            raise OutputError(f"{str(target)!r} exists; give another -o, or --force to replace it")
        if os.path.realpath(target) in self._protected:
            raise OutputError(f"{str(target)!r} is the input; give another -o, or --in-place to replace it")
        temporary = self._temporary(target)
        try:
            temporary.mkdir()
        except OSError as error:
            raise _no_folder(target, error) from None
        fd = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open.append(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._trees.append((temporary, target))
        return temporary

    def folder(self, path: Path) -> None:
        """Make a folder, and those above it, inside a tree."""
        self._guard(lambda: path.mkdir(parents=True, exist_ok=True))

    def companion(self, target: Path, content: bytes) -> None:
        """A small file that is no part of the checkpoint (a report) and follows it; an older one is replaced."""
        staged = self._create(target, True)
        self._companions.append(staged)
        staged.write(0, memoryview(content))

    def _create(self, target: Path, may_replace: bool) -> Staged:
        try:
            existing = target.lstat()
        except FileNotFoundError:
            existing = None
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(target)!r} cannot be written: {reason(error)}") from None
        if os.path.realpath(target) in self._protected:
            raise OutputError(f"{str(target)!r} is an input; give another output, or --in-place to replace the input")
        if existing is not None and stat.S_ISDIR(existing.st_mode):
            raise OutputError(f"{str(target)!r} is a directory; name a file with -o")
        if existing is not None and not (self._force or may_replace):
            raise OutputError(f"{str(target)!r} exists; give another -o, or --force to replace it")
        regular = existing is not None and stat.S_ISREG(existing.st_mode)
        mode = stat.S_IMODE(existing.st_mode) if existing is not None and regular else _default_mode()
        staged = self._make(target)
        self._guard(lambda: os.fchmod(staged.fd, mode))
        return staged

    @property
    def parts(self) -> tuple[Staged, ...]:
        """The files of the checkpoint, in the order they were created."""
        return tuple(self._parts)

    def reopen(self, target: Path) -> SourceFile:
        """Open what will be `target`, as an input, before it is; what is complete in a tree goes by its name there.

        Raises FormatError if there will be no such file.
        """
        staged = next((staged for staged in self._parts if staged.target == target), None)
        return open_source(target, follow=False) if staged is None else staged.reopened()

    def settle(self) -> None:
        """Complete all copies, and give the files in trees their names there; may be called again."""
        for staged in self._parts:
            staged.fill()
            if self._in_tree(staged.target) and staged.temporary.exists():
                self._guard(partial(staged.temporary.replace, staged.target))

    def place(self, target: Path) -> Path:
        """Where the tree that will be `target` is; of anything else, `target`."""
        return next((temporary for temporary, tree in self._trees if tree == target), target)

    def scratch(self, target: Path) -> Staged:
        """A temporary file beside `target` that never gets a name."""
        return self._make(target)

    def copy(self, source: SourceFile, target: Path, holes: Sequence[Span] = ()) -> Staged:
        """A byte for byte copy of `source` that will become `target`.

        The `holes`, ranges that will be written, are only copied at the end, as far as they were not.
        """
        staged = self._create(target, False)
        staged.source, staged.holes = source, tuple(sorted(holes))
        self._parts.append(staged)
        free = shutil.disk_usage(staged.temporary.parent).free
        if free < source.size:
            raise OutputError(
                f"{str(target)!r} needs {source.size} bytes, the disk has {free} free; make room or choose another -o"
            )
        self._guard(lambda: os.ftruncate(staged.fd, source.size))
        for start, end in without([(0, source.size)], holes):
            self._guard(partial(copy_range, source.fd, start, staged.fd, start, end - start, self._advance))
        return staged

    def write(self, target: Path, content: bytes) -> None:
        """A small file that will become `target`."""
        staged = self.create(target)
        staged.write(0, memoryview(content))

    def _make(self, target: Path) -> Staged:
        temporary = self._temporary(target)
        try:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _no_folder(target, error) from None
        self._open.append(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Staged(fd, temporary, target)

    def _temporary(self, target: Path) -> Path:
        """A name beside the target, on the list of what to remove before it is there: a signal may come at any line."""
        parent = target.parent
        if not parent.is_dir():
            raise OutputError(f"the folder {str(parent)!r} is not there; make it first, or choose another -o")
        self._sweep(target)
        temporary = journal.temporary_of(target)
        self._temporaries.append(temporary)
        return temporary

    def _sweep(self, target: Path) -> None:
        """Remove what killed runs on the same target left: their process is gone and nobody holds the lock."""
        for stale in target.parent.glob(f"{journal.PREFIX}*"):
            pid, _, name = stale.name.removeprefix(journal.PREFIX).partition("-")
            if not pid.isdecimal() or name.partition("-")[2] != journal.short(target.name) or _alive(int(pid)):
                continue
            try:
                fd = os.open(stale, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(stale)
            except OSError:
                continue  # held by a living run elsewhere, or not ours to remove
            finally:
                os.close(fd)

    def _commit(self) -> None:
        self.settle()
        everything = (*self._parts, *self._companions)
        for staged in everything:
            os.fsync(staged.fd)
        with _undisturbed():
            self._rename([(s.temporary, s.target) for s in self._parts if not self._in_tree(s.target)])
            for temporary, target in self._trees:
                _sync_tree(temporary)
                exchange(temporary, target)
            for staged in self._companions:
                staged.temporary.replace(staged.target)
            targets = [staged.target for staged in everything if not self._in_tree(staged.target)]
            for parent in {target.parent for target in (*targets, *(target for _, target in self._trees))}:
                journal.sync_directory(parent)

    def _rename(self, moves: list[journal.Move]) -> None:
        if len(moves) == 1:
            moves[0][0].replace(moves[0][1])
        elif moves:
            journal.begin(moves)
            self._temporaries = [path for path in self._temporaries if path not in dict(moves)]  # the record owns them
            journal.finish(moves)

    def _discard(self) -> None:
        for temporary in self._temporaries:
            _remove(temporary)  # gone already where it got its name
        for fd in self._open:
            os.close(fd)
        self._temporaries.clear()
        self._open.clear()

    def _in_tree(self, path: Path) -> bool:
        return any(temporary in path.parents for temporary, _ in self._trees)

    def _guard(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            raise unwritten(error) from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals wait: between the first rename and the last there is no good place to stop."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _no_folder(target: Path, error: OSError) -> OutputError:
    return OutputError(f"nothing can be written to the folder {str(target.parent)!r}: {reason(error)}")


def _remove(path: Path) -> None:
    """Remove a temporary file, or a temporary folder with all in it; nothing that a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # the next run removes it; what went wrong before is what to tell
            path.unlink(missing_ok=True)


def _sync_tree(top: Path) -> None:
    for folder, _, _ in os.walk(top):
        journal.sync_directory(Path(folder))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _default_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
