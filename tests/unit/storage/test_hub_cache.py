"""Which links in the cache of Hugging Face may be read: those that lead to what was downloaded, and no others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.hub_cache import REPOSITORY, cached

from renorm_cli.errors import FormatError
from renorm_cli.storage.files import open_beside
from renorm_cli.storage.hub_cache import blob_of, leads_in, name_of, repository_of

DIGITS = "ab" * 32


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """A link in a snapshot to a blob."""
    (tmp_path / "in" / "inner").mkdir(parents=True)
    (tmp_path / "in" / "inner" / "weights").write_bytes(b"the weights")
    (tmp_path / "secret").write_bytes(b"secret")
    return cached(tmp_path / "in", tmp_path / "cache") / "inner" / "weights"


def _leads(link: Path, target: str | Path) -> None:
    link.unlink()
    link.symlink_to(target)


def _store(link: Path, name: str) -> None:
    """The link leads to a file of this name in the blobs of the whole cache."""
    stored = link.parents[4] / "blobs" / name[:2] / name
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"other")
    _leads(link, stored)


def _blobs_elsewhere(link: Path) -> None:
    blobs = link.parents[3] / "blobs"
    blobs.rename(link.parents[5] / "elsewhere")
    blobs.symlink_to(link.parents[5] / "elsewhere")


def _blob_elsewhere(link: Path) -> None:
    blob = link.resolve()
    blob.unlink()
    blob.symlink_to(link.parents[5] / "secret")


def _pipe(link: Path) -> None:
    blob = link.resolve()
    blob.unlink()
    os.mkfifo(blob)


def _of_another(link: Path) -> None:
    other = link.parents[4] / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    (other / "1").write_bytes(b"other")
    _leads(link, other / "1")


def _below_blobs(link: Path) -> None:
    below = link.parents[3] / "blobs" / "below"
    below.mkdir()
    (below / "1").write_bytes(b"other")
    _leads(link, below / "1")


def _no_snapshot(link: Path) -> None:
    link.parents[2].rename(link.parents[3] / "others")


LEADING: dict[str, Callable[[Path], object]] = {
    "a file outside": lambda link: _leads(link, link.parents[5] / "secret"),
    "a file beside it": lambda link: (link.with_name("beside").touch(), _leads(link, "beside")),
    "blobs of another repository": _of_another,
    "a folder below the blobs": _below_blobs,
    "the blobs themselves": lambda link: _leads(link, link.parents[3] / "blobs"),
    "a blob that is a link out of the cache": _blob_elsewhere,
    "blobs that are a link": _blobs_elsewhere,
    "a blob that is a pipe": _pipe,
    "a blob that is gone": lambda link: link.resolve().unlink(),
    "a shared blob of another name than a hash": lambda link: _store(link, "secret"),
    "itself": lambda link: _leads(link, link.name),
}


def test_a_link_that_leads_to_a_blob_of_its_repository_is_read(link: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(link.parent)
    for path in (link, tmp_path / "way" / "weights"):
        with_blob = open_beside(path)
        content = bytearray(with_blob.size)
        with_blob.read_into(0, memoryview(content))
        assert (bytes(content), with_blob.path, with_blob.identity()) == (b"the weights", path, with_blob.opened)
        with_blob.close()


def test_a_link_that_leads_to_a_shared_blob_is_read(link: Path) -> None:
    _store(link, DIGITS)
    assert blob_of(link) == link.parents[4] / "blobs" / "ab" / DIGITS
    open_beside(link).close()


@pytest.mark.parametrize("change", LEADING.values(), ids=LEADING)
def test_a_link_is_refused_that_leads_to(change: Callable[[Path], object], link: Path) -> None:
    change(link)
    assert blob_of(link) is None
    with pytest.raises(FormatError, match="cannot be opened: it is a link, which could lead out of the checkpoint"):
        open_beside(link)


def test_a_link_to_a_blob_that_is_in_no_snapshot_is_not_read(link: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(link.resolve())
    (link.parents[3] / "link").symlink_to(link.resolve())
    assert [blob_of(path) for path in (tmp_path / "link", link.parents[3] / "link")] == [None, None]
    link.parents[2].rename(link.parents[3] / "others")
    assert blob_of(link.parents[3] / "others" / link.parents[1].name / "inner" / "weights") is None


def test_a_link_that_is_swapped_after_it_was_looked_at_is_noticed(link: Path) -> None:
    file = open_beside(link)
    _leads(link, link.parents[5] / "secret")
    assert file.identity() != file.opened
    file.close()


def test_a_folder_in_the_cache_has_the_name_of_its_model(
    link: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = link.parents[1]
    (tmp_path / "way").symlink_to(snapshot)
    assert [name_of(path) for path in (snapshot, tmp_path / "way", link.parent)] == ["mine", "mine", "inner"]
    monkeypatch.chdir(snapshot)
    assert [name_of(Path(path)) for path in (".", "..", "inner", "inner/..")] == ["mine", "snapshots", "inner", "mine"]


def test_what_is_in_a_repository_of_the_cache_is_known_for_it(link: Path, tmp_path: Path) -> None:
    repository = tmp_path / "cache" / REPOSITORY
    inside = (link, link.parent, link.parents[1], link.resolve(), link.with_name("new"))
    assert {repository_of(path) for path in inside} == {repository}
    (link.parents[1] / "snapshots" / "1").mkdir(parents=True)
    (link.parents[1] / "blobs").mkdir()
    assert repository_of(link.parents[1] / "snapshots" / "1" / "x") == repository  # the outermost
    assert [repository_of(path) for path in (tmp_path / "in", repository, tmp_path / "secret")] == [None] * 3


@pytest.mark.parametrize("shared", [False, True])
def test_a_link_leads_into_the_cache_over_any_other_links(shared: bool, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights").write_bytes(b"the weights")
    snapshot = cached(tmp_path / "in", tmp_path / "cache", shared=shared)
    blob = (snapshot / "weights").resolve()
    links = {"file": snapshot / "weights", "folder": snapshot, "blob": blob, "far": Path("file"), "other": Path("own")}
    (tmp_path / "own").touch()
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    inside = [snapshot, blob, *(tmp_path / name for name in ("file", "folder", "folder/weights", "blob", "far"))]
    assert [leads_in(path) for path in inside] == [True] * 7
    (tmp_path / "loop").symlink_to("loop")
    assert [leads_in(tmp_path / name) for name in ("own", "other", "loop", "none")] == [False] * 4


@pytest.mark.parametrize("name", ["mine", "models--", "my-models--org--mine", "tables--org--mine"])
def test_folders_of_such_names_in_another_folder_are_no_cache(name: str, link: Path) -> None:
    inner = link.relative_to(link.parents[3])
    other = link.parents[3].rename(link.parents[4] / name)
    assert [repository_of(other / inner), blob_of(other / inner), leads_in(other / inner)] == [None, None, False]
    with pytest.raises(FormatError, match="it is a link"):
        open_beside(other / inner)
