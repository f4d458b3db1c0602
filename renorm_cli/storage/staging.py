"""Output is written beside its target under a temporary name, flushed to disk, then renamed.

A killed run leaves the old file or the new one, never a part. At worst it leaves a `.renorm-*` file, which the next
run on the same output removes.
"""

from __future__ import annotations

import os
import shutil
import stat
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from renorm_cli.errors import OutputError, Way
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.storage import journal, temporaries
from renorm_cli.storage.bytes import Span, copy_range, reserve, without
from renorm_cli.storage.exchange import exchange
from renorm_cli.storage.files import SourceFile, open_source, reason
from renorm_cli.storage.folders import flush_folder, held
from renorm_cli.storage.permissions import Permissions, give_new, permissions_of
from renorm_cli.storage.signals import undisturbed
from renorm_cli.storage.staged import Staged, unwritten

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

_ANOTHER = Way("output", "give another")
_IN_PLACE = Way("in_place", "replace it", True)


class Staging:
    """A set of files that get their names together, in order of creation, when the `with` block ends without an error.

    If it ends in any other way, no file of the set is left. Raises OutputError where the system refuses an operation.
    """

    def __init__(
        self,
        *,
        force: bool = False,
        protected: Iterable[Path] = (),
        readers: Readers = EVERYONE,
        advance: Callable[[int], None] = lambda nbytes: None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`force` replaces existing targets, but never the `protected` files (the inputs); `advance` counts bytes.

        Files and folders that replace none are for the `readers` of the inputs alone. `ready` is asked when all is
        written and no other run can publish there: where it raises, nothing gets its name.
        """
        self._force = force
        self._protected = frozenset(os.path.realpath(path) for path in protected)
        self._readers = readers
        self._advance = advance
        self._ready = ready
        self._parts: list[Staged] = []
        self._companions: list[Staged] = []
        self._trees: list[tuple[Path, Path]] = []
        self._left: dict[Path, dict[str, list[Path]]] = {}
        self._promised = 0
        self._open: list[int] = []
        self._temporaries: list[Path] = []
        # Also runs if a signal ends the process outside the `with` block.
        self._discard = weakref.finalize(self, _discard, os.getpid(), self._temporaries, self._open)

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
            with undisturbed():
                self._discard()

    def create(self, target: Path) -> Staged:
        """Make an empty file that will become `target`; refuses an existing target unless forced.

        The mode is that of the file it replaces, or the default under the process's umask, for `readers` alone.
        """
        staged = self._create(target, False)
        self._parts.append(staged)
        return staged

    def tree(self, target: Path) -> Path:
        """Make an empty folder that will become `target` as a whole; an existing `target` is exchanged, not merged.

        The other methods create the files in it.
        """
        self._refuse_existing(target)
        if os.path.realpath(target) in self._protected:
            raise OutputError(f"{str(target)!r} is the input", _ANOTHER, _IN_PLACE)
        self._clear(target)
        try:
            fd, temporary = temporaries.make_folder(target, self._temporaries.append)
        except OSError as error:
            raise _no_folder(target, error) from None
        self._open.append(fd)
        self._trees.append((temporary, target))
        return temporary

    def folder(self, path: Path) -> None:
        """Make a folder, and those above it, inside a tree."""
        self._guard(lambda: path.mkdir(parents=True, exist_ok=True))

    def companion(self, target: Path, content: Iterable[bytes], *ways: Way) -> None:
        """Write a file beside the checkpoint (a report), given in parts. It gets its name after the checkpoint does,
        and replaces an older one. The `ways` out are those of an error about its name."""
        if os.path.realpath(target) in {os.path.realpath(staged.target) for staged in self._parts}:
            raise OutputError(f"{str(target)!r} is a file of the output", *ways)
        try:
            staged = self._create(target, True)
        except OutputError as error:
            raise OutputError(error.text, *ways) from None
        self._companions.append(staged)
        size = 0
        for part in content:
            staged.write(size, memoryview(part))
            size += len(part)

    @property
    def parts(self) -> tuple[Staged, ...]:
        """The files of the checkpoint, in the order they were created."""
        return tuple(self._parts)

    def reopen(self, target: Path) -> SourceFile:
        """Open the file that will become `target` for reading; name a finished file in a tree by its path there.

        Raises FormatError if there will be no such file.
        """
        staged = next((staged for staged in self._parts if staged.target == target), None)
        return open_source(target, follow=False) if staged is None else staged.reopened()

    def settle(self) -> None:
        """Complete all copies. May be called again."""
        for staged in self._parts:
            staged.fill()

    def place(self, target: Path) -> Path:
        """The temporary folder of the tree that will become `target`; `target` itself if there is no such tree."""
        return next((temporary for temporary, tree in self._trees if tree == target), target)

    def scratch(self, target: Path) -> Staged:
        """A temporary file beside `target` that never gets a name."""
        return self._make(target)

    def copy(self, source: SourceFile, target: Path, holes: Sequence[Span] = ()) -> Staged:
        """Make a byte for byte copy of `source` that will become `target`.

        `holes` are the ranges that the caller will write. `settle` copies those that were not written.
        """
        staged = self._create(target, False)
        staged.source, staged.holes = source, tuple(sorted(holes))
        self._parts.append(staged)
        self._guard(partial(self._copy, source, staged))
        return staged

    def carry(self, source: SourceFile, target: Path) -> None:
        """Copy `source` byte for byte into a tree, flush and close the copy; so any number of files can be carried."""
        staged = self._create(target, False)
        try:
            self._guard(partial(self._copy, source, staged))
            self._guard(partial(os.fsync, staged.fd))
        finally:
            self._open.remove(staged.fd)
            os.close(staged.fd)

    def adopt(self, target: Path) -> None:
        """Take a file that other code wrote into a tree: it gets its permissions, and is flushed."""
        fd = -1

        def take() -> None:
            nonlocal fd
            fd = os.open(target, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            _permit(fd, permissions_of(self._replaced(target)), self._readers)
            os.fsync(fd)

        try:
            self._guard(take)
        finally:
            if fd >= 0:
                os.close(fd)

    def write(self, target: Path, content: bytes) -> None:
        """Write a small file that will become `target`."""
        staged = self.create(target)
        staged.write(0, memoryview(content))

    def _copy(self, source: SourceFile, staged: Staged) -> None:
        free = shutil.disk_usage(staged.temporary.parent).free - self._promised
        if free < source.size:
            raise OutputError(
                f"{str(staged.target)!r} needs {source.size} bytes, the disk has {max(0, free)} free; make room",
                _ANOTHER,
            )
        os.ftruncate(staged.fd, source.size)
        for start, end in staged.holes:
            if not reserve(staged.fd, start, end - start):  # else the disk counts it as taken
                self._promised += end - start
        for start, end in without([(0, source.size)], staged.holes):
            copy_range(source.descriptor(), start, staged.fd, start, end - start, self._advance)

    def _create(self, target: Path, may_replace: bool) -> Staged:
        if os.path.realpath(target) in self._protected:
            raise OutputError(f"{str(target)!r} is an input", _ANOTHER, _IN_PLACE)
        _refuse_irregular(target)
        if not may_replace:
            self._refuse_existing(target)
        staged = self._make(target)
        self._guard(partial(_permit, staged.fd, permissions_of(self._replaced(target)), self._readers))
        return staged

    def _refuse_existing(self, target: Path) -> None:
        if os.path.lexists(target) and not self._force:
            raise OutputError(f"{str(target)!r} exists", _ANOTHER, Way("force", "replace it", True))

    def _make(self, target: Path) -> Staged:
        inside = self._in_tree(target)  # the tree is temporary already, and locked
        if not inside:
            self._clear(target)
        try:
            if inside:
                fd, temporary = os.open(target, _NEW_FILE, 0o600), target
            else:
                fd, temporary = temporaries.make_file(target, self._temporaries.append)
        except OSError as error:
            raise _no_folder(target, error) from None
        self._open.append(fd)
        return Staged(fd, temporary, target)

    def _clear(self, target: Path) -> None:
        """Check that the target's folder exists, and remove what killed runs left in it for this target."""
        folder = target.parent
        if not os.path.isdir(folder):  # noqa: PTH112  (Path.is_dir raises without permission)
            raise OutputError(_folder_missing(target), _ANOTHER)
        if folder not in self._left:
            self._left[folder] = temporaries.leftovers(folder)
        temporaries.sweep(self._left[folder].pop(temporaries.short(target.name), ()))

    def _commit(self) -> None:
        self.settle()
        for staged in (*self._parts, *self._companions):
            os.fsync(staged.fd)
        for temporary, target in self._trees:
            _finish_tree(temporary, target, self._readers)
        parts = [staged for staged in self._parts if not self._in_tree(staged.target)]
        targets = [*(staged.target for staged in parts), *(target for _, target in self._trees)]
        with held(target.parent for target in targets) as flush, undisturbed():
            for target in targets:
                self._refuse_existing(target)  # another run may have published it meanwhile
            self._ready()
            self._rename([(staged.temporary, staged.target) for staged in parts])
            for temporary, target in self._trees:
                exchange(temporary, target)
            try:
                self._follow()
                flush()
            except OSError as error:
                if not targets:
                    raise
                raise _unfinished(targets[-1], error) from None

    def _rename(self, moves: list[journal.Move]) -> None:
        if len(moves) == 1:
            moves[0][0].replace(moves[0][1])
        elif moves:
            new = not any(os.path.lexists(target) for _, target in moves)
            journal.begin(moves)
            try:
                journal.finish(moves)
            except BaseException as error:
                if new:
                    journal.undo(moves)
                    raise
                owned = dict(moves)  # these belong to the journal now, which a later run finishes
                self._temporaries[:] = [path for path in self._temporaries if path not in owned]
                if isinstance(error, OSError):
                    raise _half_replaced(moves[-1][1], error) from None
                raise

    def _follow(self) -> None:
        """Give the companions their names."""
        for staged in self._companions:
            staged.temporary.replace(staged.target)
        for folder in {staged.target.parent for staged in self._companions}:
            flush_folder(folder)

    def _in_tree(self, path: Path) -> bool:
        return any(temporary in path.parents for temporary, _ in self._trees)

    def _replaced(self, path: Path) -> Path:
        """The file that `path` will replace: for a path in a tree, the file at the same place in the old folder."""
        for temporary, target in self._trees:
            if temporary in path.parents:
                return target / path.relative_to(temporary)
        return path

    def _guard(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            raise unwritten(error) from None


def save(files: Mapping[Path, Iterable[bytes]], *ways: Way, readers: Readers = EVERYONE) -> None:
    """Write files, each given in parts, all of them or none; older ones are replaced, new ones are for `readers` alone.

    Raises OutputError, with these `ways` out of a problem with a name.
    """
    with Staging(readers=readers) as staging:
        for target, content in files.items():
            staging.companion(target, content, *ways)


def _discard(owner: int, left: list[Path], fds: list[int]) -> None:
    """Remove the temporaries (those that got their names are gone already), and close the open files."""
    if os.getpid() != owner:
        return  # this process is a fork of the run
    for temporary in left:
        temporaries.remove(temporary)
    for fd in fds:
        os.close(fd)
    left.clear()
    fds.clear()


def existing(target: Path) -> os.stat_result | None:
    """What is where an output is to be, links followed; None if nothing is. Raises OutputError where nothing can be."""
    try:
        return target.stat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{str(target)!r} cannot be written: {reason(error)}", _ANOTHER) from None


def _refuse_irregular(target: Path) -> None:
    """Raise OutputError if `target` is, or links to, anything but a regular file: a rename would replace a device."""
    found = existing(target)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{str(target)!r} is a directory; a file was expected", _ANOTHER)
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{str(target)!r} is not a regular file; it is never replaced, name another")


def _permit(fd: int, replaced: Permissions | None, readers: Readers) -> None:
    if replaced is None:
        give_new(fd, readers)
    else:
        replaced.give(fd)


def _finish_tree(top: Path, target: Path, readers: Readers) -> None:
    """Give the folders of a tree their permissions, and flush them. Raises OSError."""
    for name, _, _ in os.walk(top, topdown=False):
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _permit(fd, permissions_of(target / Path(name).relative_to(top)), readers)
            os.fsync(fd)
        finally:
            os.close(fd)


def _folder_missing(target: Path) -> str:
    from renorm_cli.missing import url_of

    url = url_of(target)
    if url is not None:
        return f"{url!r} is a URL; files are written to this machine alone"
    return f"the folder {str(target.parent)!r} is not there: make it first"


def _no_folder(target: Path, error: OSError) -> OutputError:
    return OutputError(f"nothing can be written to the folder {str(target.parent)!r}: {reason(error)}")


def _half_replaced(index: Path, error: OSError) -> OutputError:
    return OutputError(f"{str(index)!r} is half replaced: {reason(error)}; mend that and repeat the run to finish it")


def _unfinished(target: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{str(target)!r} was written, but not all that follows it: {reason(error)}; mend that and repeat the run"
    )
