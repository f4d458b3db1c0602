from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import examples

from renorm_cli.errors import FormatError, OutputError
from renorm_cli.storage import exchange as exchanging
from renorm_cli.storage import journal
from renorm_cli.storage import staging as staging_module
from renorm_cli.storage.bytes import copy_range, write_all
from renorm_cli.storage.files import check_unchanged, open_source
from renorm_cli.storage.folders import held
from renorm_cli.storage.signals import undisturbed
from renorm_cli.storage.staging import Staging
from renorm_cli.storage.temporaries import sweep

CONTENT = os.urandom(100_003)
EXISTS = "exists; give another with output=, or replace it with force=True"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.bin"
    path.write_bytes(CONTENT)
    return path


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".renorm-")]


def test_a_copy_gets_its_name_only_at_the_end(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with Staging() as staging:
        staged = staging.copy(open_source(source), target)
        assert not target.exists()
        write_all(staged.fd, 10, memoryview(b"patched"))
    assert target.read_bytes() == CONTENT[:10] + b"patched" + CONTENT[17:]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError, SystemExit, ValueError])
def test_any_way_out_but_the_good_one_leaves_nothing(
    source: Path, tmp_path: Path, failure: type[BaseException]
) -> None:
    target = tmp_path / "out.bin"
    with pytest.raises(failure), Staging() as staging:
        staging.copy(open_source(source), target)
        staging.scratch(target)
        staging.companion(tmp_path / "report.json", [b"{}"])
        raise failure
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bin"]


def test_an_existing_output_is_refused_unless_forced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with (
        pytest.raises(OutputError, match=EXISTS),
        Staging() as staging,
    ):
        staging.copy(open_source(source), target)
    assert target.read_bytes() == b"old"
    with Staging(force=True) as staging:
        staging.copy(open_source(source), target)
    assert target.read_bytes() == CONTENT


def test_a_replaced_file_keeps_its_mode_and_a_new_one_follows_the_umask(source: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old.bin", tmp_path / "new.bin"
    old.write_bytes(b"old")
    old.chmod(0o640)
    mask = os.umask(0o027)
    try:
        with Staging(force=True) as staging:
            staging.copy(open_source(source), old)
            staging.copy(open_source(source), new)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o640


def test_an_output_that_is_a_link_is_replaced_and_its_target_stays(source: Path, tmp_path: Path) -> None:
    victim, link, hard = tmp_path / "victim", tmp_path / "link", tmp_path / "hard"
    victim.write_bytes(b"victim")
    link.symlink_to(victim)
    hard.hardlink_to(victim)
    with Staging(force=True) as staging:
        staging.copy(open_source(source), link)
        staging.copy(open_source(source), hard)
    assert victim.read_bytes() == b"victim"
    assert not link.is_symlink()
    assert link.read_bytes() == hard.read_bytes() == CONTENT


def test_a_protected_file_is_never_replaced_under_any_of_its_names(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.bin"
    link.symlink_to(source)
    for target in (source, link, tmp_path / "." / "in.bin"):
        with pytest.raises(OutputError, match="is an input"), Staging(force=True, protected=[source]) as staging:
            staging.copy(open_source(source), target)
    assert source.read_bytes() == CONTENT


def test_a_folder_that_is_missing_or_a_directory_as_output_is_said(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"the folder .*nowhere' is not there"), Staging() as staging:
        staging.copy(open_source(source), tmp_path / "nowhere" / "out.bin")
    with pytest.raises(OutputError, match="is a directory"), Staging(force=True) as staging:
        staging.copy(open_source(source), tmp_path)


def test_a_full_disk_is_one_error_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    """A real limit of the system, in a process of its own: files may not grow beyond 50,000 bytes."""
    code = f"""
import resource, signal
from pathlib import Path
from renorm_cli.errors import OutputError
from renorm_cli.storage.bytes import copy_range, write_all
from renorm_cli.storage.files import open_source
from renorm_cli.storage.folders import held
from renorm_cli.storage.staging import Staging
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with Staging() as staging:
        staging.copy(open_source(Path({str(source)!r})), Path({str(tmp_path / "out.bin")!r}))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "the output cannot be written: File too large; no unfinished output was left\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bin"]


def test_the_next_run_removes_what_a_killed_one_left_but_not_what_a_living_one_holds(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.bin"
    code = f"""
import os, signal
from pathlib import Path
from renorm_cli.storage.bytes import copy_range, write_all
from renorm_cli.storage.files import open_source
from renorm_cli.storage.folders import held
from renorm_cli.storage.staging import Staging
with Staging() as staging:
    staging.copy(open_source(Path({str(source)!r})), Path({str(target)!r}))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(leftovers(tmp_path)) == 1
    with Staging(force=True) as living:
        living.copy(open_source(source), target)
        assert len(leftovers(tmp_path)) == 1
        with Staging() as other:
            other.companion(target, [b"other"])
            assert len(leftovers(tmp_path)) == 2
    assert leftovers(tmp_path) == []


def test_several_files_that_replace_others_are_finished_after_a_kill(tmp_path: Path) -> None:
    """Killed right after the record is made: neither old nor new can be taken for whole; recovery brings the new."""
    names = ["m_0.h5", "m_1.h5", "m.json"]
    for name in names:
        (tmp_path / name).write_bytes(b"old")
    moves = []
    for number, name in enumerate(names):
        (tmp_path / f".renorm-1-{number}-{name}").write_bytes(b"new")
        moves.append((tmp_path / f".renorm-1-{number}-{name}", tmp_path / name))
    journal.begin(moves)
    assert journal.recover(tmp_path / "m.json")
    assert {(tmp_path / name).read_bytes() for name in names} == {b"new"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert not journal.recover(tmp_path / "m.json")


@pytest.mark.parametrize("done", range(4))
def test_recovery_can_start_after_any_rename(tmp_path: Path, done: int) -> None:
    names = ["m_0.h5", "m_1.h5", "m.json"]
    moves = [(tmp_path / f".renorm-1-{number}-{name}", tmp_path / name) for number, name in enumerate(names)]
    for temporary, _ in moves:
        temporary.write_bytes(b"new")
    journal.begin(moves)
    for temporary, target in moves[:done]:
        temporary.replace(target)
    assert journal.recover(tmp_path / "m.json")
    assert {(tmp_path / name).read_bytes() for name in names} == {b"new"}


@pytest.mark.parametrize(
    ("done", "removed"),
    [
        *((None, some) for some in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))),
        *((0, some) for some in ((1,), (2,), (0, 2), (1, 2), (0, 1, 2))),
        *((1, some) for some in ((2,), (1, 2))),
        (2, (2,)),
    ],
)
def test_recovery_refuses_where_new_files_were_removed_before_they_had_their_names(
    tmp_path: Path, done: int | None, removed: tuple[int, ...]
) -> None:
    """The run was killed before it removed the old index (None), or after so many renames."""
    names = ["m_0.h5", "m_1.h5", "m.json"]
    moves = [(tmp_path / f".renorm-1-{number}-{name}", tmp_path / name) for number, name in enumerate(names)]
    for temporary, target in moves:
        temporary.write_bytes(b"new")
        target.write_bytes(b"old")
    journal.begin(moves)
    if done is not None:
        moves[-1][1].unlink()
    for temporary, target in moves[: done or 0]:
        temporary.replace(target)
    for number in removed:
        moves[number][0].unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputError, match=f"the new .*'{names[removed[-1]]}' (was|were) removed before") as refused:
        journal.recover(tmp_path / "m.json")
    assert "\n" not in str(refused.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("stop", range(4))
@pytest.mark.parametrize("force", [False, True], ids=["new", "over another"])
def test_no_rename_of_several_files_leaves_an_index_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool, stop: int
) -> None:
    """The rename with this number fails: what replaced nothing is gone, and what replaced files is finished later."""
    names = ["m_0.h5", "m_1.h5", "m.json"]
    targets = [tmp_path / name for name in names]
    for target in targets if force else ():
        target.write_bytes(b"old")
    replace, done = Path.replace, []

    def counted(path: Path, target: Path) -> Path:
        if target in targets:
            assert not targets[-1].exists()
            if len(done) == stop:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done.append(target)
        return replace(path, target)

    def publish() -> None:
        with Staging(force=force) as staging:
            for target in targets:
                staging.write(target, b"new")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", counted)
        if stop == len(names):
            publish()
        else:
            with pytest.raises(OutputError, match="half replaced" if force else "cannot be written"):
                publish()
    assert journal.recover(targets[-1]) == (force and stop < len(names))
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == (dict.fromkeys(names, b"new") if force or stop == len(names) else {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"[[1, 2]]",
        b'[["a", "m.json"]]',
        b'[[".renorm-1", "../m.json"]]',
        b'[[".renorm-1", "other"]]',
    ],
)
def test_a_journal_that_is_not_ours_moves_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / ".renorm-1").write_bytes(b"b")
    journal.journal_of(tmp_path / "m.json").write_bytes(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OutputError, match="not a journal of ours"):
        journal.recover(tmp_path / "m.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_range_is_copied_where_it_belongs_and_a_source_too_short_is_an_error(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(CONTENT)
    two.write_bytes(b"x" * 50)
    with one.open("rb") as source, two.open("r+b") as target:
        copy_range(source.fileno(), 1000, target.fileno(), 5, 20_000)
        assert two.read_bytes() == b"x" * 5 + CONTENT[1000:21_000]
        with pytest.raises(OSError, match="ended while it was copied"):
            copy_range(source.fileno(), len(CONTENT) - 5, target.fileno(), 0, 6)


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=6)


@settings(max_examples=examples(100), deadline=None)
@given(holes=spans, writes=spans)
def test_a_copy_with_holes_is_the_source_with_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, holes: list[tuple[int, int]], writes: list[tuple[int, int]]
) -> None:
    """Judged by a byte array; holes may touch and overlap, writes only go where there are holes."""
    folder = tmp_path_factory.mktemp("holes")
    content = os.urandom(80)
    (folder / "in").write_bytes(content)
    expected = bytearray(content)
    inside = {at for start, size in holes for at in range(start, min(start + size, 80))}
    with Staging() as staging:
        source = open_source(folder / "in")
        staged = staging.copy(source, folder / "out", [(start, min(start + size, 80)) for start, size in holes])
        assert all(os.pread(staged.fd, 1, at) == content[at : at + 1] for at in set(range(80)) - inside)
        for number, (start, size) in enumerate(writes):
            for at in sorted(inside.intersection(range(start, start + size))):
                expected[at] = number
                staged.write(at, memoryview(bytes([number])))
    source.close()
    assert (folder / "out").read_bytes() == bytes(expected)


def test_a_copy_that_is_complete_needs_its_source_no_more(source: Path, tmp_path: Path) -> None:
    with Staging() as staging:
        opened = open_source(source)
        staging.copy(opened, tmp_path / "out.bin", [(0, 3)])
        staging.settle()
        opened.close()
    assert (tmp_path / "out.bin").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("pid", [1, os.getpid()], ids=["of another", "ours"])
def test_a_leftover_that_nobody_holds_goes_whoever_has_its_process_id_now(
    source: Path, tmp_path: Path, pid: int
) -> None:
    """Also a folder that holds folders which may not be written to, and not what belongs to another output."""
    (tmp_path / f".renorm-{pid}-abcd-out.bin").write_bytes(b"left")
    (tmp_path / f".renorm-{pid}-ef01-out.bin" / "deep").mkdir(parents=True)
    (tmp_path / f".renorm-{pid}-ef01-out.bin" / "deep").chmod(0o500)
    (tmp_path / f".renorm-{pid}-abcd-other.bin").write_bytes(b"left")
    with Staging() as staging:
        staging.copy(open_source(source), tmp_path / "out.bin")
    assert leftovers(tmp_path) == [f".renorm-{pid}-abcd-other.bin"]


def test_what_a_journal_may_own_is_not_removed(source: Path, tmp_path: Path) -> None:
    """A killed run's files wait for `recover`, also where another output of the same name comes along."""
    owned = tmp_path / ".renorm-1-abcd-out.bin"
    owned.write_bytes(b"new")
    journal.begin([(owned, tmp_path / "out.bin"), (tmp_path / ".renorm-1-abcd-m.json", tmp_path / "m.json")])
    with Staging() as staging:
        staging.copy(open_source(source), tmp_path / "out.bin")
    assert owned.read_bytes() == b"new"


def test_a_run_that_is_gone_without_a_goodbye_leaves_nothing(source: Path, tmp_path: Path) -> None:
    """A signal may come between the last line of a `with` block and the first of what cleans up behind it."""
    staging = Staging()
    staging.copy(open_source(source), tmp_path / "out.bin")
    assert len(leftovers(tmp_path)) == 1
    del staging
    assert leftovers(tmp_path) == []


def test_a_signal_waits_until_the_block_ends_whichever_thread_it_is_given_to() -> None:
    """A thread that does not block signals is what NumPy brings; the system gives it what this one blocks."""
    came: list[int] = []
    ended = threading.Event()
    idle = threading.Thread(target=ended.wait)
    idle.start()
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with undisturbed():
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)
            assert came == []
        assert came == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
        ended.set()
        idle.join()


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_folder_of_more_files_than_may_be_open_is_carried_over(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for number in range(300):
        (old / str(number)).write_bytes(bytes([number % 256]))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    already = len(os.listdir("/dev/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (already + 50, allowed[1]))
    try:
        with Staging() as staging:
            tree = staging.tree(new)
            for path in old.iterdir():
                file = open_source(path)
                staging.carry(file, tree / path.name)
                file.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
    assert {path.name: path.read_bytes() for path in new.iterdir()} == {
        path.name: path.read_bytes() for path in old.iterdir()
    }


def test_nothing_but_a_file_is_ever_replaced(source: Path, tmp_path: Path) -> None:
    """A rename would put a file in the place of a pipe or, for a superuser, of /dev/null."""
    pipe, link, null = tmp_path / "pipe", tmp_path / "link", tmp_path / "null"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    null.symlink_to(os.devnull)
    for target in (pipe, link, null):
        with pytest.raises(OutputError, match="not a regular file"), Staging(force=True) as staging:
            staging.copy(open_source(source), target)
        with pytest.raises(OutputError, match="not a regular file"), Staging() as staging:
            staging.companion(target, [b"{}"])
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_that_replaces_another_keeps_the_modes_of_all_in_it(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    (target / "inner").mkdir(parents=True)
    (target / "inner" / "file").write_bytes(b"old")
    (target / "inner" / "file").chmod(0o640)
    (target / "inner").chmod(0o750)
    target.chmod(0o700)
    with Staging(force=True) as staging:
        tree = staging.tree(target)
        staging.folder(tree / "inner")
        staging.copy(open_source(source), tree / "inner" / "file")
        staging.copy(open_source(source), tree / "inner" / "new")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (target, target / "inner", target / "inner" / "file")] == [
        0o700,
        0o750,
        0o640,
    ]
    assert (target / "inner" / "file").read_bytes() == CONTENT


@pytest.mark.skipif(os.getuid() != 0, reason="only a superuser gives files away")
def test_a_replaced_file_keeps_its_owner(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    os.chown(target, 1234, 5678)
    target.chmod(0o640)
    with Staging(force=True) as staging:
        staging.copy(open_source(source), target)
    found = target.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o640)


def test_where_folders_cannot_be_exchanged_a_kill_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at each of the three renames that stand for the exchange there."""
    monkeypatch.setattr(exchanging, "_swap", lambda one, other: False)
    rename = Path.rename
    for stop in range(4):
        folder = tmp_path / str(stop)
        for name in ("new", "model"):
            (folder / name).mkdir(parents=True)
            (folder / name / "what").write_text(name)
        left = stop

        def counted(path: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return rename(path, target)

        if stop == 3:
            exchanging.exchange(folder / "new", folder / "model")
        else:
            with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
                patched.setattr(Path, "rename", counted)
                exchanging.exchange(folder / "new", folder / "model")
        journal.recover(folder / "model")
        assert (folder / "model" / "what").read_text() == ("model" if stop < 2 else "new")
        assert leftovers(folder) == []


def test_where_folders_cannot_be_exchanged_a_run_that_begins_waits_for_one_that_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins while the old folder is aside and the new one has no name yet."""
    monkeypatch.setattr(exchanging, "_swap", lambda one, other: False)
    rename, target = Path.rename, tmp_path / "model"
    target.mkdir()
    later = threading.Thread(target=journal.recover, args=(target,))

    def slow(path: Path, to: Path) -> Path:
        moved = rename(path, to)
        if path == target:
            later.start()
            later.join(0.2)
        return moved

    monkeypatch.setattr(Path, "rename", slow)
    with Staging(force=True) as staging:
        staging.write(staging.tree(target) / "what", b"new")
    later.join()
    assert (target / "what").read_bytes() == b"new"
    assert leftovers(tmp_path) == []


def test_a_folder_of_a_lower_layer_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overlay, as containers have it, exchanges and renames no folder of its image."""

    def across(*names: Path) -> bool:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(exchanging, "_swap", across)
    (tmp_path / "model").mkdir()
    said = r"model' cannot be replaced: .* lower layer.*; give another with output="
    with pytest.raises(OutputError, match=said), Staging(force=True) as staging:
        staging.tree(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_another_run_takes_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = Path.mkdir, []

    def swept(path: Path, mode: int = 0o777) -> None:
        make(path, mode)
        made.append(path)
        if len(made) == 1:
            sweep([path])

    monkeypatch.setattr(Path, "mkdir", swept)
    with Staging() as staging:
        staging.write(staging.tree(tmp_path / "model") / "what", b"new")
    assert [path.exists() for path in made] == [False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_that_another_run_takes_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = os.open, []

    def swept(path: Path, flags: int, mode: int = 0o777) -> int:
        fd = make(path, flags, mode)
        if flags & os.O_CREAT:
            made.append(path)
            if len(made) == 1:
                sweep([path])
        return fd

    monkeypatch.setattr(os, "open", swept)
    with Staging() as staging:
        staging.write(tmp_path / "model", b"new")
    assert len(made) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model": b"new"}


def test_a_journal_without_its_name_is_no_leftover_to_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def swept(path: Path, target: Path) -> Path:
        sweep([path])
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", swept)
    with Staging() as staging:
        for name in ("m_0.h5", "m.json"):
            staging.write(tmp_path / name, b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "m_0.h5"]


def test_a_record_that_cannot_be_flushed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = [(tmp_path / f".renorm-1-a-{name}", tmp_path / name) for name in ("one", "two")]
    for temporary, _ in moves:
        temporary.write_bytes(b"new")

    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal, "flush_folder", broken)
    with pytest.raises(OSError, match="Input/output error"):
        journal.begin(moves)
    assert not journal.is_journaled(tmp_path / "two")
    assert len(leftovers(tmp_path)) == 2


def test_of_two_runs_at_one_output_the_second_does_not_replace_the_first_unasked(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with (
        pytest.raises(OutputError, match=EXISTS),
        Staging() as late,
    ):
        late.create(target).write(0, memoryview(b"late"))
        with Staging() as early:
            early.copy(open_source(source), target)
    assert target.read_bytes() == CONTENT
    assert leftovers(tmp_path) == []


def test_publishing_waits_for_a_run_that_publishes(source: Path, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    seen: list[bool] = []

    def release() -> None:
        seen.append((tmp_path / "out.bin").exists())
        os.close(folder)

    waiting = threading.Timer(0.2, release)
    waiting.start()
    with Staging() as staging:
        staging.copy(open_source(source), tmp_path / "out.bin")
    waiting.join()
    assert seen == [False]
    assert (tmp_path / "out.bin").exists()


def test_one_folder_under_two_names_is_held_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with held([tmp_path, tmp_path / "link", tmp_path / "."]) as flush:
        flush()


def test_a_reader_waits_for_a_run_that_replaces_several_files_and_tells_of_one_that_was_killed(tmp_path: Path) -> None:
    index = tmp_path / "m.json"
    journal.journal_of(index).write_bytes(b"[]")
    with pytest.raises(FormatError, match="is half replaced"):
        journal.refuse_half_replaced(index)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)

    def done() -> None:
        journal.journal_of(index).unlink()
        os.close(folder)

    ending = threading.Timer(0.2, done)
    ending.start()
    journal.refuse_half_replaced(index)
    ending.join()


def test_a_report_that_cannot_follow_is_said_and_the_output_stays(source: Path, tmp_path: Path) -> None:
    target, report = tmp_path / "out.bin", tmp_path / "out.json"
    with pytest.raises(OutputError, match=r"out.bin' was written, but not all that follows it"), Staging() as staging:
        staging.copy(open_source(source), target)
        staging.companion(report, [b"{}"])
        report.mkdir()
    assert target.read_bytes() == CONTENT
    assert leftovers(tmp_path) == []


def test_what_copies_will_still_need_counts_as_taken(tmp_path: Path) -> None:
    """Real free space, and inputs that are nothing but holes."""
    source = tmp_path / "in.bin"
    source.touch()
    size = shutil.disk_usage(tmp_path).free * 2 // 3
    os.truncate(source, size)
    with pytest.raises(OutputError, match=r"two' needs \d+ bytes, the disk has \d+ free"), Staging() as staging:
        staging.copy(open_source(source), tmp_path / "one", [(0, size)])
        staging.copy(open_source(source), tmp_path / "two", [(0, size)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bin"]


@pytest.mark.parametrize("reserves", [True, False])
def test_copies_that_fit_on_the_disk_together_are_made_with_and_without_reserved_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserves: bool
) -> None:
    """A disk of 10 MiB, and three files of 3 MiB that will be written anew, as the shards of a large model."""
    size = 3 << 20
    (tmp_path / "in.bin").write_bytes(os.urandom(size))

    def usage(folder: Path) -> SimpleNamespace:
        taken = sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir() if path.name != "in.bin")
        return SimpleNamespace(free=(10 << 20) - taken)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    if not reserves:
        monkeypatch.setattr(staging_module, "reserve", lambda fd, offset, count: False)
    names = ["one", "two", "three"]
    source = open_source(tmp_path / "in.bin")
    with Staging() as staging:
        for name in names:
            staging.copy(source, tmp_path / name, [(0, size)])
    assert {(tmp_path / name).stat().st_size for name in names} == {size}
    with pytest.raises(OutputError, match="needs 3145728 bytes"), Staging() as staging:
        staging.copy(source, tmp_path / "four", [(0, size)])
    source.close()


def test_an_input_that_lost_its_name_to_another_has_changed(source: Path, tmp_path: Path) -> None:
    opened = open_source(source)
    check_unchanged(opened)
    (tmp_path / "newer").write_bytes(CONTENT)
    (tmp_path / "newer").replace(source)
    with pytest.raises(FormatError, match="changed while it was read"):
        check_unchanged(opened)
    source.unlink()
    with pytest.raises(FormatError, match="changed while it was read"):
        check_unchanged(opened)
    opened.close()


@pytest.mark.parametrize("asked", [1, 2])
def test_an_input_that_its_server_lost_is_one_error_and_stays_open_for_nobody(
    source: Path, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    """A file of NFS that was removed elsewhere can be opened, and tells nothing then."""
    ask, before = os.fstat, os.listdir("/dev/fd")  # noqa: PTH208
    calls: list[int] = []

    def lost(fd: int) -> os.stat_result:
        calls.append(fd)
        if len(calls) == asked:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return ask(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", lost)
        with pytest.raises(FormatError, match=r"in\.bin' cannot be read: Stale file handle"):
            open_source(source)
    assert os.listdir("/dev/fd") == before  # noqa: PTH208


def test_names_as_long_as_file_systems_allow_are_no_trouble(tmp_path: Path) -> None:
    names = ["d" * 255, "i" * 255]
    for _ in range(2):
        with Staging(force=True) as staging:
            for name in names:
                staging.write(tmp_path / name, b"new")
    journal.refuse_half_replaced(tmp_path / names[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == names
