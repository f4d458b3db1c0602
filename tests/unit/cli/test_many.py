"""Many checkpoints on the command line: which are asked, what is told of all together, and the exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from support import builders
from support.cli import refused, renorm_here
from support.places import SAMPLES

from renorm_cli.api import verbs
from renorm_cli.cli import many

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs` with five checkpoints whose norms are up to 2, one of norms up to 17, two that fail, and other files."""
    for name in ("a/dense.h5", "a/dense.keras", "b/dense.weights.h5", "b/deep/convolutions.h5", "b/embedding.h5"):
        (tmp_path / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / Path(name).name, tmp_path / "runs" / name)
    shutil.copy(SAMPLES / "declared.keras", tmp_path / "runs" / "big.keras")
    (tmp_path / "runs" / "torn.h5").write_bytes((SAMPLES / "dense.h5").read_bytes()[:9000])
    (tmp_path / "runs" / "a" / "ckpt-3.index").write_bytes(b"no index")
    (tmp_path / "runs" / "README.md").write_text("runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


HOLD = ["runs/a/dense.h5", "runs/a/dense.keras", "runs/b/deep/convolutions.h5", "runs/b/dense.weights.h5"]
HOLD += ["runs/b/embedding.h5"]
ALL = sorted([*HOLD, "runs/big.keras", "runs/torn.h5", "runs/a/ckpt-3"])
SKIPPED = ("--skip", "torn.h5", "--skip", "ckpt-*")


def paths(text: str) -> list[str]:
    return [one["source"]["path"] for one in json.loads(text)]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("-r", "runs", "--max-norm", "9", *SKIPPED, "--skip", "big.keras"), 0),
        (("-r", "runs", "--max-norm", "9", *SKIPPED), 1),
        (("-r", "runs", "--max-norm", "9"), 2),
        (("-r", "runs", "--max-norm", "20", "--skip", "torn.h5"), 2),
        ((HOLD[0], "runs/torn.h5", "--max-norm", "9"), 2),
        ((HOLD[0], "runs/big.keras", "--max-norm", "9"), 1),
        ((HOLD[0], HOLD[1], "--max-norm", "9"), 0),
        ((HOLD[0], "gone.h5", "--max-norm", "9"), 2),
        ((HOLD[0], "runs/a", "--max-norm", "9"), 2),
    ],
)
def test_2_over_1_over_0_in_whatever_order_they_come(
    asked: tuple[str, ...], code: int, tree: Path, capfd: Capture
) -> None:
    assert renorm_here(capfd, "check", *asked, "-q", "--journal", "j.jsonl").returncode == code
    assert renorm_here(capfd, "check", *asked, "--journal", "j.jsonl", "--format", "csv").returncode == code
    assert renorm_here(capfd, "report", "j.jsonl", "-q").returncode == code


def test_every_checkpoint_has_its_record_in_the_order_of_paths_also_where_it_failed(tree: Path, capfd: Capture) -> None:
    done = renorm_here(capfd, "check", "-r", "runs", "--max-norm", "9", "--format", "json", "--report", "r.xml")
    assert paths(done.stdout) == ALL
    failed = {one["source"]["path"]: one["error"]["kind"] for one in json.loads(done.stdout) if "error" in one}
    assert failed == {"runs/a/ckpt-3": "format", "runs/torn.h5": "format"}
    assert done.stderr.count("error: ") == 2
    root = ET.parse("r.xml").getroot()
    assert (root.get("errors"), root.get("failures")) == ("2", "4")
    assert len(root.findall(".//error")) == 2


def test_what_is_accepted_fails_many_checkpoints_no_more_than_one(tmp_path: Path, capfd: Capture) -> None:
    files = [str(tmp_path / name) for name in ("a.npz", "b.npz")]
    for file in files:
        np.savez(file, **{"head.weight": np.ones((3, 4), "f4"), "odd": np.ones((3, 4), "f4")})
    for given in (files, files[:1]):
        asked = ("check", *given, "--max-norm", "9", "-q")
        assert renorm_here(capfd, *asked).returncode == 2
        assert renorm_here(capfd, *asked, "--allow-unidentified").returncode == 0


def test_a_list_of_paths_is_taken_from_a_file_or_stdin_by_lines_or_by_nuls(tree: Path, capfd: Capture) -> None:
    odd = os.fsdecode(b"runs/a\n\xff.h5")
    shutil.copy(SAMPLES / "dense.h5", odd)
    for end, names in (("\n", HOLD[:2]), ("\0", [*HOLD[:2], odd])):
        Path("list").write_bytes(b"".join(os.fsencode(name + end) for name in names))
        done = renorm_here(capfd, "check", HOLD[2], "--from", "list", "--max-norm", "9", "--format", "json")
        assert done.returncode == 0
        assert len(paths(done.stdout)) == len(names) + 1
        assert paths(done.stdout)[:3] == [HOLD[2], *HOLD[:2]]
    for what, content in (("has a name of more than", b"x" * 200_000), ("no checkpoint was found", b"\n\n")):
        Path("list").write_bytes(content)
        refused(renorm_here(capfd, "check", "--from", "list", "--max-norm", "9"), what)
    refused(renorm_here(capfd, "check", "--from", "gone", "--max-norm", "9"), "cannot be read: No such file")
    refused(renorm_here(capfd, "check", "--max-norm", "9"), "no CHECKPOINT is given")


def test_an_endless_list_of_paths_is_refused_in_one_line(
    tree: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(renorm_here(capfd, "check", "--from", "/dev/zero", "--max-norm", "9"), "as an endless stream has")
    Path("list").write_text(f"{HOLD[0]}\n" * 3)
    for limit, most in (("_MOST_PATHS", 2), ("_MOST_BYTES", 3 * len(HOLD[0]) + 2)):
        with monkeypatch.context() as patched:
            assert renorm_here(capfd, "check", "--from", "list", "--max-norm", "9").returncode == 0
            patched.setattr(many, limit, most)
            refused(renorm_here(capfd, "check", "--from", "list", "--max-norm", "9"), "as an endless stream has")


@pytest.mark.slow
def test_stdin_is_a_list_of_paths_too(tree: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "renorm_cli", "check", "--from", "-", "--max-norm", "9"],
        input="\n".join(HOLD),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.count("holds: ")) == (0, 5)


def test_a_list_says_what_would_be_looked_at_and_reads_nothing(
    tree: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "check", None)
    done = renorm_here(capfd, "check", "-r", "runs", "--max-norm", "9", "--list")
    *lines, last = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ALL
    assert last.startswith("8 checkpoints, ")
    assert last.endswith("; 1 other file passed over")
    assert done.returncode == 0
    Path("empty").mkdir()
    refused(renorm_here(capfd, "check", "-r", "empty", "--max-norm", "9"), "no checkpoint was found; see --list")
    for pattern in (("--match", "*.keros"), ("--skip", "*")):
        done = renorm_here(capfd, "check", "-r", "runs", HOLD[0], *pattern, "--max-norm", "9")
        told = "8 checkpoints left out by --match or --skip, 1 other file passed over"
        refused(done, f"no checkpoint was found, {told}; see --list")
        done = renorm_here(capfd, "check", "-r", "runs", HOLD[0], *pattern, "--max-norm", "9", "--list")
        assert done.stdout == f"0 checkpoints, 0 B; {told}\n"


def test_names_from_a_tree_are_safe_on_a_terminal(tree: Path, capfd: Capture) -> None:
    shutil.copy(SAMPLES / "dense.h5", "runs/a\x1b[2Jb\n::error::x.h5")
    for arguments in (("--list",), ("--format", "csv"), ()):
        done = renorm_here(capfd, "check", "-r", "runs", "--match", "*2J*", HOLD[0], "--max-norm", "9", *arguments)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\n::error" not in done.stdout


def counted_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    real, calls = verbs.check, []

    def check(path: Path, **asked: object) -> object:
        calls.append(str(path))
        return real(path, **asked)  # type: ignore[arg-type]

    monkeypatch.setattr(verbs, "check", check)
    return calls


def test_a_run_goes_on_where_its_journal_ends_and_says_the_same(
    tree: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted_calls(monkeypatch)
    asked = ("check", "-r", "runs", "--max-norm", "9", "--journal", "j.jsonl", "--format", "json")
    first = renorm_here(capfd, *asked)
    assert sorted(calls) == ALL
    whole = Path("j.jsonl").read_bytes()
    calls.clear()
    again = renorm_here(capfd, *asked)
    assert (again.returncode, again.stdout, again.stderr) == (first.returncode, first.stdout, first.stderr)
    assert calls == []
    assert Path("j.jsonl").read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    Path("j.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:50])
    again = renorm_here(capfd, *asked)
    assert len(calls) == 5
    assert without_seconds(again.stdout) == without_seconds(first.stdout)
    records = Path("j.jsonl").read_text().splitlines()[1:-1]
    assert sorted(json.loads(line)["source"]["path"] for line in records) == ALL
    calls.clear()
    os.utime(HOLD[0], ns=(1, 1))
    Path(HOLD[1]).unlink()
    shutil.copy(SAMPLES / "dense.h5", "runs/new.h5")
    renorm_here(capfd, *asked)
    assert sorted(calls) == [HOLD[0], "runs/new.h5"]
    reported = renorm_here(capfd, "report", "j.jsonl", "--format", "json")
    assert paths(reported.stdout) == sorted([*(path for path in ALL if path != HOLD[1]), "runs/new.h5"])


def test_a_run_that_ends_whole_leaves_a_journal_that_is_reported_whatever_it_asked_again(
    tree: Path, capfd: Capture
) -> None:
    asked = ("check", HOLD[0], "runs/torn.h5", "--max-norm", "9", "--journal", "j.jsonl", "-q", "--jobs", "1")
    assert renorm_here(capfd, *asked).returncode == 2
    os.utime(HOLD[0], ns=(1, 1))
    for content, code in ((None, 2), ("dense.h5", 0), ("declared.keras", 1)):
        if content is not None:
            shutil.copy(SAMPLES / content, "runs/torn.h5")
        assert renorm_here(capfd, *asked).returncode == code
        assert renorm_here(capfd, "report", "j.jsonl", "-q").returncode == code


def without_seconds(text: str) -> object:
    found = json.loads(text)
    for one in found:
        one.pop("seconds", None)
        one.pop("provenance", None)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("changed", [("--max-norm", "8"), ("--p", "1"), ("-x", "digit/*"), ("--match", "*.h5")])
def test_a_journal_of_another_question_is_refused(changed: tuple[str, ...], tree: Path, capfd: Capture) -> None:
    asked = ("check", "-r", "runs", "--max-norm", "9", "--journal", "j.jsonl")
    renorm_here(capfd, *asked, "-q", "--jobs", "1")
    refused(renorm_here(capfd, *asked, *changed), "is of another question")
    assert renorm_here(capfd, *asked, "-q", "--jobs", "2", "--report", "r.csv").returncode == 2  # how it is computed


def test_rules_are_the_same_question_only_with_the_same_content(tree: Path, capfd: Capture) -> None:
    Path("r.toml").write_text('[[rule]]\nmatch = "*/kernel"\nmax_norm = 9\n')
    asked = ("check", *HOLD[:2], "--rules", "r.toml", "--journal", "j.jsonl", "-q")
    assert renorm_here(capfd, *asked).returncode == 0
    assert renorm_here(capfd, *asked).returncode == 0
    Path("r.toml").write_text('[[rule]]\nmatch = "*/kernel"\nmax_norm = 1\n')
    refused(renorm_here(capfd, *asked), "is of another question")


def test_a_journal_is_never_written_over_something_else(tree: Path, capfd: Capture) -> None:
    before = Path(HOLD[0]).read_bytes()
    for other in (HOLD[0], "runs/README.md"):
        done = renorm_here(capfd, "check", "-r", "runs", "--max-norm", "9", "--journal", other)
        refused(done, "is no journal, and stays as it is")
    assert Path(HOLD[0]).read_bytes() == before


def test_lines_of_json_are_printed_as_soon_as_they_are_there_and_are_those_of_the_journal(
    tree: Path, capfd: Capture
) -> None:
    done = renorm_here(capfd, "check", "-r", "runs", "--max-norm", "9", "--format", "jsonl", "--journal", "j.jsonl")
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    kept = [json.loads(line) for line in Path("j.jsonl").read_text().splitlines()[1:-1]]
    for record in kept:
        for name in ("rank", "readers", "identity"):
            del record[name]
    assert printed == kept
    assert len(printed) == len(ALL)


def test_a_usage_error_ends_a_run_at_once(tree: Path, capfd: Capture) -> None:
    refused(renorm_here(capfd, "check", "-r", "runs", "--max-norm", "-1"), "must be a finite number above 0")
    refused(
        renorm_here(capfd, "inspect", "-r", "runs", "--norms", "n.npz"), "--norms writes the norms of one checkpoint"
    )
    refused(renorm_here(capfd, "suggest", "-r", "runs", "-o", "r.toml"), "-o writes the rules of one checkpoint")
    refused(renorm_here(capfd, "check", "-r", "runs", "--max-norm", "9", "--report", HOLD[0] + ".csv=x"), "the ending")


def test_a_fault_of_ours_in_one_checkpoint_is_a_record_and_the_others_have_theirs(
    tree: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verbs.check

    def check(path: Path, **asked: object) -> object:
        if path.name == "dense.keras":
            raise ZeroDivisionError
        return real(path, **asked)  # type: ignore[arg-type]

    monkeypatch.setattr(verbs, "check", check)
    done = renorm_here(capfd, "check", *HOLD, "--max-norm", "9", "--format", "json")
    assert done.returncode == 2
    assert [one.get("error", {}).get("kind") for one in json.loads(done.stdout)] == [None, "internal", None, None, None]
    assert "a fault of this program: ZeroDivisionError in check" in done.stderr


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """5 checkpoints that hold, 24 with a norm of 10 and more, the last the largest, and 22 that fail."""
    weights = builders.two_dense()
    for number in range(29):
        if number >= 5:
            weights["hidden"]["kernel"][0, 0] = number + 5
        builders.write_v3(tmp_path / f"{number:02}.weights.h5", builders.v3_layers(weights))
    for number in range(22):
        (tmp_path / f"bad-{number:02}.h5").write_bytes(b"no checkpoint")
    monkeypatch.chdir(tmp_path)
    return tmp_path


REPORTS = ("r.json", "r.csv", "r.xml", "r.md", "r.html", "r.sarif", "r.jsonl", "gitlab=q.json")


def test_of_many_the_worst_are_printed_all_are_counted_and_reports_have_all(fleet: Path, capfd: Capture) -> None:
    files = [word for name in REPORTS for word in ("--report", name)]
    done = renorm_here(capfd, "check", "-r", ".", "--max-norm", "3", "--jobs", "1", *files)
    lines = done.stdout.splitlines()
    assert [line.split("'")[1] for line in lines if line.startswith("violated")] == [
        f"{number:02}.weights.h5" for number in range(28, 8, -1)
    ]
    assert lines[-2] == "and 4 more checkpoints; --report FILE has all of them"
    assert lines[-1] == "51 checkpoints: 5 hold, 24 violated, 22 failed"
    assert done.stderr.count("error: 'bad-") == 20
    assert done.stderr.endswith("error: 2 more checkpoints failed; --report FILE has all of them\n")
    assert done.returncode == 2
    assert len(json.loads(Path("r.json").read_text())) == len(Path("r.jsonl").read_text().splitlines()) == 51
    rows = list(csv.DictReader(io.StringIO(Path("r.csv").read_text())))
    assert len({row["path"] for row in rows}) == 51
    assert sum(row["status"] == "failed" for row in rows) == 22
    suite = ET.parse("r.xml").getroot()
    counts = {"tests": "51", "failures": "24", "errors": "22"}
    assert {name: suite.get(name) for name in counts} == counts
    assert len(suite.findall(".//testcase")) == 51
    assert "24 of 51 checkpoints violated, 22 failed" in Path("r.md").read_text()
    assert Path("r.html").read_text().count("no checkpoint of a known format") == 22
    results = json.loads(Path("r.sarif").read_text())["runs"][0]["results"]
    assert sum(one["ruleId"] == "renorm-failed" for one in results) == 22
    assert sum(one["check_name"] == "renorm-failed" for one in json.loads(Path("q.json").read_text())) == 22


@pytest.mark.slow
def test_in_processes_the_same_is_found(fleet: Path, capfd: Capture) -> None:
    asked = ("check", "-r", ".", "--max-norm", "3", "--format", "json")
    here = renorm_here(capfd, *asked, "--jobs", "1")
    there = renorm_here(capfd, *asked, "--jobs", "2")
    assert without_seconds(there.stdout) == without_seconds(here.stdout)
    assert (there.returncode, there.stderr) == (here.returncode, here.stderr)


@pytest.mark.slow
def test_inspect_of_many_prints_those_of_the_largest_norms(fleet: Path, capfd: Capture) -> None:
    done = renorm_here(capfd, "inspect", "-r", ".", "--skip", "bad*", "--jobs", "1")
    assert done.returncode == 0
    assert done.stdout.startswith("'28.weights.h5': 4 variables: ")
    assert done.stdout.splitlines()[-1] == "29 checkpoints: 29 without findings"


def test_suggest_takes_trees_and_says_what_failed(tree: Path, capfd: Capture) -> None:
    done = renorm_here(capfd, "suggest", "-r", "runs/a", "--format", "json")
    assert done.returncode == 2
    assert ["error" in one for one in json.loads(done.stdout)] == [True, False, False]


@pytest.mark.slow
def test_suggest_of_many_asks_processes_and_tells_what_one_does(tree: Path, capfd: Capture) -> None:
    for number in range(30):
        shutil.copy(SAMPLES / "dense.keras", f"runs/copy-{number}.keras")
    asked = ("suggest", "-r", "runs", "--format", "json")
    many, alone = renorm_here(capfd, *asked, "--jobs", "2"), renorm_here(capfd, *asked, "--jobs", "1")
    assert (many.returncode, many.stderr) == (alone.returncode, alone.stderr)
    assert without_seconds(many.stdout) == without_seconds(alone.stdout)
    assert len(json.loads(many.stdout)) == 38


def test_a_checkpoint_that_takes_too_long_is_given_up(tree: Path, capfd: Capture) -> None:
    done = renorm_here(capfd, "check", *HOLD[:2], "--max-norm", "9", "--timeout", "0.001", "--format", "json")
    assert done.returncode == 2
    assert {one["error"]["kind"] for one in json.loads(done.stdout)} == {"timeout"}


def test_a_report_under_the_name_of_a_journal_is_told_as_that(tree: Path, capfd: Capture) -> None:
    asked = ("check", *HOLD[:2], "--max-norm", "9", "--journal", "j.csv", "-q")
    told = "--report 'j.csv' is a journal of this run; give the report another name"
    refused(renorm_here(capfd, *asked, "--report", "j.csv"), told)
    assert not Path("j.csv").exists()
    renorm_here(capfd, *asked)
    refused(renorm_here(capfd, "report", "j.csv", "--report", "j.csv"), told)


def test_journals_of_different_questions_are_not_reported_together(tree: Path, capfd: Capture) -> None:
    for bound, name in (("9", "1.jsonl"), ("8", "2.jsonl")):
        renorm_here(capfd, "check", *HOLD[:2], "--max-norm", bound, "--journal", name, "-q")
    refused(renorm_here(capfd, "report", "1.jsonl", "2.jsonl"), "are of different questions")
    refused(renorm_here(capfd, "report", HOLD[0]), "no journal")
    refused(renorm_here(capfd, "report", "gone.jsonl"), "cannot be opened")


@pytest.mark.slow
def test_the_parts_of_a_run_are_together_the_whole(tree: Path, capfd: Capture) -> None:
    asked = ("check", "-r", "runs", "--max-norm", "9")
    whole = renorm_here(capfd, *asked, "--format", "json")
    listed = [renorm_here(capfd, *asked, "--shard", f"{part}/4", "--list").stdout for part in range(1, 5)]
    assert sorted(line.split()[-1] for text in listed for line in text.splitlines()[:-1]) == ALL
    for part in range(1, 5):
        renorm_here(capfd, *asked, "--shard", f"{part}/4", "--journal", f"part-{part}.jsonl", "-q")
    names = [f"part-{part}.jsonl" for part in range(1, 5)]
    done = renorm_here(capfd, "report", *names, "--format", "json")
    assert without_seconds(done.stdout) == without_seconds(whole.stdout)
    assert done.returncode == whole.returncode == 2
    refused(renorm_here(capfd, "report", *names[:2], *names[3:]), "part 3 of 4 is missing; give all journals")
    refused(renorm_here(capfd, *asked, "--shard", "1/4", "--journal", names[1]), "is of another question")
    renorm_here(capfd, *asked, "--journal", "whole.jsonl", "-q")
    refused(renorm_here(capfd, "report", names[0], "whole.jsonl"), "are of different questions")


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", "1/4/5", "99999999/99999999"])
def test_a_part_that_cannot_be_is_refused(shard: str, tree: Path, capfd: Capture) -> None:
    refused(renorm_here(capfd, "check", "-r", "runs", "--max-norm", "9", "--shard", shard), "from 1/N to N/N")


@pytest.mark.slow
def test_more_journals_are_reported_than_files_are_open_at_once_by_default(tree: Path, capfd: Capture) -> None:
    asked = ("check", "-r", "runs", "--max-norm", "9", *SKIPPED, "--skip", "big.keras", "--journal", "j.jsonl", "-q")
    assert renorm_here(capfd, *asked).returncode == 0
    head, *records, _ = Path("j.jsonl").read_text("ascii").splitlines()
    names = [f"part-{part}.jsonl" for part in range(1, 101)]
    for part, name in enumerate(names, 1):
        mine = records if part == 50 else []
        lines = [json.dumps({**json.loads(head), "shard": [part, 100]}), *mine, json.dumps({"complete": len(mine)})]
        Path(name).write_text("\n".join([*lines, ""]), "ascii")
    program = [sys.executable, "-m", "renorm_cli", "report", *names]
    more = ["sh", "-c", 'ulimit -S -n 40 && exec "$@"', "sh"]
    done = subprocess.run([*more, *program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("holds: ")) == (0, "", 5)
    few = ["sh", "-c", 'ulimit -n 40 && exec "$@"', "sh"]
    refused(subprocess.run([*few, *program], capture_output=True, text=True, check=False), "Too many open files")


def test_a_part_may_be_empty(tree: Path, capfd: Capture) -> None:
    asked = ("check", "-r", "runs", "--max-norm", "9", "--shard", "1/999999", "--journal", "j.jsonl")
    for more, printed in (((), ""), (("--format", "json"), "[]\n"), (("--cluster", "tcp://127.0.0.1:1"), "")):
        done = renorm_here(capfd, *asked, *more)
        said = "warning: part 1 of 999999 has none of 8 checkpoints; nothing to do\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, printed, said)


def test_the_lines_of_tables_are_not_chosen_where_there_are_no_tables(tree: Path, capfd: Capture) -> None:
    paths = ["runs/a/dense.h5", *(f"runs/copy-{number}.h5" for number in range(20))]
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    for asked in (("--top", "3"), ("--sort", "name")):
        refused(renorm_here(capfd, "inspect", *paths, *asked), "of more than 20 checkpoints the worst are listed")


def test_one_run_takes_one_part(tree: Path, capfd: Capture) -> None:
    done = renorm_here(capfd, "check", "-r", "runs", "--max-norm", "9", "--shard", "1/2", "--shard", "2/2")
    refused(done, "--shard is given 2 times, and one run takes one part; give it once")
