"""The journal: what a run found is there for the next one, whatever killed it; and nothing else is taken for one."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support.report_maker import a_report, a_row

from renorm_cli.errors import FormatError, OutputError, UsageError
from renorm_cli.fleet.journal import Journal
from renorm_cli.fleet.outcomes import Outcomes, merged
from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.model.findings import Rank, rank
from renorm_cli.model.readers import EVERYONE, Readers
from renorm_cli.render.data.json_report import line

HEAD = {"version": "0.1.0", "command": "check", "options": {"max_norm": 2.0}}


def outcomes() -> list[Outcome]:
    reports = [
        a_report([a_row("dense/kernel", 9.0)], path=f"runs/{name}.h5", command="check")
        for name in ("a", "b", os.fsdecode(b"c\xff"))
    ]
    return [*reports, Failure("check", "0.1.0", "runs/d.h5", "died", "'runs/d.h5': its process died")]


def write(path: Path, found: list[Outcome], *, finish: bool = True, **more: object) -> None:
    with closing(Journal.continued(path, {**HEAD, **more})) as journal:
        for one in found:
            journal.add(line(one).encode(), rank(one), EVERYONE, f"id of {one.path}"[:8])
        if finish:
            journal.finish((), len(found))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "norms.jsonl"


def test_each_line_is_the_json_report_of_a_checkpoint_and_what_a_run_needs_of_it(path: Path) -> None:
    write(path, outcomes())
    head, *records, end = map(json.loads, path.read_text("ascii").splitlines())
    assert head == {"tool": "renorm-ckpt", "journal": 1, **HEAD}
    assert end == {"complete": 4}
    for record, one in zip(records, outcomes(), strict=True):
        more = {name: record.pop(name) for name in ("rank", "readers", "identity")}
        assert record == json.loads(line(one))
        assert (more["readers"], more["identity"]) == ([True, None], "id of ru")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_next_run_knows_what_was_found_and_reads_it_again(path: Path) -> None:
    write(path, outcomes(), finish=False)
    with closing(Journal.continued(path, HEAD)) as journal:
        assert list(journal.known) == [one.path for one in outcomes()]
        for one in outcomes():
            kept = dict(journal.known.items())[one.path]
            assert journal.outcome(kept.start, kept.size) == one
            assert (kept.rank, kept.final) == (rank(one), not isinstance(one, Failure))
        assert not journal.complete


@pytest.mark.parametrize("readers", [EVERYONE, Readers(False), Readers(False, 0), Readers(False, 2**32 - 1)])
def test_who_may_read_a_checkpoint_and_what_its_files_were_is_known_again(readers: Readers, path: Path) -> None:
    (one, *_) = outcomes()
    with closing(Journal.continued(path, HEAD)) as journal:
        journal.add(line(one).encode(), rank(one), readers, "as it \ud800 was")
    with closing(Journal.continued(path, HEAD)) as journal:
        kept = journal.known.pop(one.path)
        assert kept is not None
        assert kept.readers == readers
        assert kept.answers("as it \ud800 was")
        assert not kept.answers("as it is")
        assert journal.known.pop(one.path) is None


def test_the_last_line_of_a_path_counts_and_one_that_is_gone_does_not(path: Path) -> None:
    first, other, *_ = outcomes()
    write(path, [first, other, Failure("check", "0.1.0", first.path, "format", "damaged")], finish=False)
    with closing(Journal.continued(path, HEAD)) as journal:
        assert dict(journal.known.items())[first.path].rank == Rank(0, 0.0)
        journal.finish({other.path}, 1)
    with closing(Journal.read(path)) as journal:
        assert list(journal.known) == [first.path]
        assert journal.complete


def test_a_last_line_torn_at_any_byte_is_cut_off_and_the_run_goes_on(path: Path) -> None:
    write(path, outcomes(), finish=False)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    head = whole.index(b"\n") + 1
    for end in [*range(head), *range(last, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with closing(Journal.continued(path, HEAD)) as journal:
            assert len(journal.known) == (0 if end < head else 3)
        assert path.read_bytes() == whole[: head if end < head else last]


@pytest.mark.parametrize(
    "content", [b"weights\n", b"{}\n", b"[1]\n", b'{"tool": "renorm-ckpt"}\n', b"\x89HDF\r\n\x1a\n", b"x"]
)
def test_a_file_that_is_no_journal_stays_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no journal, and stays as it is"):
        Journal.continued(path, HEAD)
    with pytest.raises(FormatError):
        Journal.read(path)
    assert path.read_bytes() == content


def test_another_question_is_refused(path: Path) -> None:
    write(path, outcomes())
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is of another question"):
        Journal.continued(path, {**HEAD, "options": {"max_norm": 3.0}})
    assert path.read_bytes() == before


BAD = [
    b"nonsense",
    b"{}",
    *(
        b'{"source":{"path":"a"},"rank":%s,"readers":[true,null],"identity":""}' % rank
        for rank in (b"[9,1]", b"[]", b"[1]", b"[null,1]", b"[1,2,3]")
    ),
    *(
        b'{"source":{"path":"a"},"rank":[3,1],"readers":%s,"identity":""}' % readers
        for readers in (b"[]", b"[1,2]", b"[false,-1]", b"[false,99999999999999999999]", b"[false,1.5]")
    ),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_damaged_line_before_the_last_one_is_an_error_that_names_it(path: Path, bad: bytes) -> None:
    write(path, outcomes(), finish=False)
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, second, bad + b"\n", *rest]))
    with pytest.raises(UsageError, match="is damaged in line 3"):
        Journal.continued(path, HEAD)


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (b"{nonsense", "an object of JSON was expected, found text that is no valid JSON at character 1"),
        (b'{"a":1,"a":2}', "an object of JSON was expected, found text that has a key that comes twice in one object"),
    ],
)
def test_what_is_told_of_a_damaged_line_is_what_was_expected_and_what_it_is(path: Path, bad: bytes, found: str) -> None:
    write(path, outcomes(), finish=False)
    with path.open("ab") as file:
        file.write(bad + b"\n")
    with pytest.raises(UsageError, match=f"is damaged in line [0-9]+: {found}; give another name"):
        Journal.continued(path, HEAD)


def test_a_second_run_on_the_journal_is_refused(path: Path) -> None:
    with closing(Journal.continued(path, HEAD)), pytest.raises(OutputError, match="another run writes to the journal"):
        Journal.continued(path, HEAD)
    Journal.continued(path, HEAD).close()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_refused(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    with pytest.raises(OutputError, match="journal"):
        Journal.continued(path, HEAD)


def test_a_full_disk_leaves_whole_lines_and_says_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = outcomes()
    write(path, [first], finish=False)
    before = path.read_bytes()
    real = os.pwrite

    def full(fd: int, data: memoryview, offset: int) -> int:
        if len(data) > 100:
            return real(fd, data[:100], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(Journal.continued(path, HEAD)) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(OutputError, match="No space left on device; what is in it stays, make room"):
                journal.add(line(second).encode(), rank(second), EVERYONE, "x")
        assert path.read_bytes() == before
        journal.add(line(second).encode(), rank(second), EVERYONE, "x")
    with closing(Journal.continued(path, HEAD)) as journal:
        assert len(journal.known) == 2


def test_a_journal_that_lost_lines_before_its_end_is_not_reported(path: Path) -> None:
    write(path, outcomes())
    head, first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([head, *rest]))
    with closing(Journal.read(path)) as journal, pytest.raises(FormatError, match="is not complete; run it again"):
        merged([journal])
    path.write_bytes(b"".join([head, first, first, *rest]))  # the same again is no other checkpoint
    with closing(Journal.read(path)) as journal:
        assert len(merged([journal])) == 4


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    a, b, c, failed = outcomes()
    write(tmp_path / "1.jsonl", [b, failed])
    write(tmp_path / "2.jsonl", [c, a])
    return [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]


def test_journals_together_are_in_the_order_of_paths(parts: list[Path]) -> None:
    opened = [Journal.read(path) for path in parts]
    found = merged(opened)
    assert list(found) == outcomes()
    assert list(found.ranks) == list(map(rank, found))
    for journal in opened:
        journal.close()


def test_a_journal_of_a_run_that_is_not_complete_is_not_reported(path: Path) -> None:
    write(path, outcomes(), finish=False)
    with closing(Journal.read(path)) as journal, pytest.raises(FormatError, match="is not complete"):
        merged([journal])


def refusal(given: list[Path]) -> str:
    with ExitStack() as opened, pytest.raises(FormatError) as refused:
        merged([opened.enter_context(closing(Journal.read(path))) for path in given])
    return refused.value.text


def test_what_is_given_twice_is_named(parts: list[Path], tmp_path: Path) -> None:
    one, two = parts
    link, more = tmp_path / "link.jsonl", tmp_path / "3.jsonl"
    link.symlink_to(one)
    write(more, outcomes()[:1])
    assert refusal([one, two, one]) == f"the journal {str(one)!r} is given twice; give it once"
    assert refusal([one, link]) == f"the journal {str(link)!r} is given twice; give it once"
    assert refusal([one, two, more]) == (
        f"the journals {str(two)!r} and {str(more)!r} both have 'runs/a.h5'; give one, or ask all in one run"
    )


@pytest.mark.parametrize(
    ("given", "count", "told"),
    [
        ([1], 2, "part 2 of 2 is missing; give all journals"),
        ([1, 3], 4, "parts 2 and 4 of 4 are missing; give all journals"),
        ([2], 4, "parts 1, 3 and 4 of 4 are missing; give all journals"),
        ([2], 7, "parts 1, 3, 4 and 3 more of 7 are missing; give all journals"),
        ([1, 2, 1], 2, "part 1 of 2 is given twice, as '0.jsonl' and '2.jsonl'; give one of them"),
    ],
)
def test_the_parts_that_are_missing_or_given_twice_are_named(
    given: list[int], count: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, part in enumerate(given):
        write(Path(f"{number}.jsonl"), [], shard=[part, count])
    assert refusal([Path(f"{number}.jsonl") for number in range(len(given))]) == told


def test_what_many_may_read_is_what_all_may_read() -> None:
    with closing(Journal.temporary(HEAD)) as journal:
        found = Outcomes(2, [journal])
        for at, readers in enumerate((EVERYONE, Readers(False, 7))):
            one = outcomes()[at]
            found.put(at, journal.add(line(one).encode(), rank(one), readers, ""))
        assert found.readers == Readers(False, 7)
        assert found[-1] == outcomes()[1]
        assert found[0:2] == list(found) == outcomes()[:2]
