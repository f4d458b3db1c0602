"""Checkpoints in the cache of Hugging Face, where every file is a link: read as files are, and never replaced."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from support import orbax_files
from support import small_checkpoints as small
from support.files import bound, look
from support.hub_cache import cached

from renorm_cli.api.verbs import check, diff
from renorm_cli.errors import OutputError
from renorm_cli.formats.registry import is_one_of

KINDS = {
    **small.TENSORFLOW,
    **small.OTHERS,
    "orbax": lambda folder: orbax_files.write_step(folder / "step", zarr3=False, ocdbt=False),
}
SLOW = [pytest.mark.slow, pytest.mark.skipif(find_spec("tensorstore") is None, reason="tensorstore is not installed")]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def _twins(kind: str, tmp_path: Path, *, shared: bool = False) -> tuple[Path, Path]:
    """A checkpoint as files, and the same in the cache."""
    made = {}
    for name in ("plain", "in"):
        (tmp_path / name).mkdir()
        made[name] = KINDS[kind](tmp_path / name).relative_to(tmp_path / name)
        if (tmp_path / name / made[name]).is_dir():
            (tmp_path / name / made[name] / "words.txt").write_bytes(b"a file that is carried over" * 10)
    top = tmp_path / "in" / made["in"] if (tmp_path / "in" / made["in"]).is_dir() else tmp_path / "in"
    snapshot = cached(top, tmp_path / "cache", shared=shared)
    return tmp_path / "plain" / made["plain"], snapshot if top != tmp_path / "in" else snapshot / made["in"]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=SLOW if kind == "orbax" else ()) for kind in KINDS])
def test_a_checkpoint_in_the_cache_is_read_as_one_of_files_and_its_output_has_no_links(
    kind: str, tmp_path: Path, here: Path
) -> None:
    plain, path = _twins(kind, tmp_path)
    before = small.content(tmp_path / "cache")
    assert look(path, 1.0).totals == look(plain, 1.0).totals
    name = "out" if path.is_dir() else path.name
    for source, folder in ((plain, tmp_path / "of plain"), (path, tmp_path / "of cached")):
        folder.mkdir()
        bound(source, folder / name)
    assert small.content(tmp_path / "of cached") == small.content(tmp_path / "of plain")
    assert not any(one.is_symlink() for one in (tmp_path / "of cached").rglob("*"))
    assert diff(path, tmp_path / "of cached" / name, expect_renorm=True, max_norm=1.0).proven
    with pytest.raises(OutputError, match=r"is in the cache of Hugging Face, and stays as it was downloaded"):
        bound(path, None, in_place=True)
    way = tmp_path / (path.name if path.is_file() else "way")
    way.symlink_to(path)
    for given in (way, way.resolve()):
        with pytest.raises(OutputError, match=r"in the cache of Hugging Face, and stays as it was downloaded"):
            bound(given, None, in_place=True)
    report = bound(path, None)
    assert report.output is not None
    assert any(one.name.startswith(report.output) for one in here.iterdir())
    assert small.content(tmp_path / "cache") == before


@pytest.mark.parametrize("shared", [False, True])
def test_every_verb_reads_the_folder_of_a_model_in_the_cache(shared: bool, tmp_path: Path, here: Path) -> None:
    _, path = _twins("model folder", tmp_path, shared=shared)
    assert check(path, max_norm=1.0).verdict == "violated"
    assert bound(path, None, dry_run=True).output == "mine-renorm"
    assert list(here.iterdir()) == []
    bound(path, None)
    assert (here / "mine-renorm" / "assets" / "words.txt").read_bytes() == b"one\ntwo\n"
    assert diff(path, here / "mine-renorm", expect_renorm=True, max_norm=1.0).proven


def test_a_config_in_the_cache_tells_of_the_weights_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = small.OTHERS["safetensors shards"](tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"quantization_config": 7}')
    (note,) = look(cached(tmp_path / "model", tmp_path / "cache") / path.name).notes
    assert "quantization_config: a table was expected" in note.text


@pytest.mark.parametrize("kind", ["model folder", "safetensors shards", "saved model", "tfjs"])
def test_no_report_replaces_a_link_that_the_run_reads_through(kind: str, tmp_path: Path, here: Path) -> None:
    _, path = _twins(kind, tmp_path)
    before = small.content(tmp_path / "cache")
    (here / "way").symlink_to(path)
    folder = path if path.is_dir() else path.parent
    files = [one for one in folder.rglob("*") if one.is_symlink()]
    assert len(files) > 1
    for file in files:
        for given in (path, here / "way"):
            assert is_one_of(file, [given]), file
        assert is_one_of(file.resolve(), [path]), file
    assert not is_one_of(folder / "report.json", [path])
    assert small.content(tmp_path / "cache") == before
