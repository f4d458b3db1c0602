from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renorm_cli.errors import OutputError
from renorm_cli.formats.disk import journal
from renorm_cli.formats.disk.files import open_source
from renorm_cli.formats.disk.bytes import copy_range, write_all
from renorm_cli.formats.disk.staging import Staging

CONTENT = os.urandom(100_003)


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
        staging.companion(tmp_path / "report.json", b"{}")
        raise failure
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bin"]


def test_an_existing_output_is_refused_unless_forced(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists; give another -o, or --force"), Staging() as staging:
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
from renorm_cli.formats.disk.files import open_source
from renorm_cli.formats.disk.staging import Staging
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
from renorm_cli.formats.disk.files import open_source
from renorm_cli.formats.disk.staging import Staging
with Staging() as staging:
    staging.copy(open_source(Path({str(source)!r})), Path({str(target)!r}))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(leftovers(tmp_path)) == 1
    with Staging() as living:
        living.copy(open_source(source), target)
        assert len(leftovers(tmp_path)) == 1
        with Staging() as other:
            other.companion(target, b"other")
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


@settings(max_examples=100, deadline=None)
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
