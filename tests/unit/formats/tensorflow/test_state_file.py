from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.tf_recorded import message

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow.state_file import NAME, newest_prefix, state_text


def newest(folder: Path, text: bytes, *names: str) -> str | None:
    (folder / NAME).write_bytes(text)
    return newest_prefix(folder, names)


NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(NAMES)
@example("mod\u00e8le")
@example('a"b\\c\nd\t1')
def test_tensorflow_and_we_read_what_we_write_and_we_read_what_tensorflow_writes(tmp_path: Path, name: str) -> None:
    from google.protobuf import text_format

    theirs = text_format.Parse(state_text(name), message("CheckpointState")())
    assert theirs.model_checkpoint_path == name
    assert list(theirs.all_model_checkpoint_paths) == [name]
    for text in (state_text(name), text_format.MessageToString(theirs).encode()):
        assert newest(tmp_path, text, "other", name) == name


@pytest.mark.parametrize("path", [b"/tmp/a", b"../a", b"./a", b"a*", b"gs://b/a", rb"a\000", b"x/../a", b""])
def test_a_path_out_of_the_folder_counts_for_nothing(tmp_path: Path, path: bytes) -> None:
    assert newest(tmp_path, b'model_checkpoint_path: "' + path + b'"', "a", "b") is None
    assert newest(tmp_path, b'model_checkpoint_path: "' + path + b'"', "a") == "a"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("start", [b"", b"model_checkpoint_path", b'model_checkpoint_path:"'])
@pytest.mark.parametrize("filling", [b"\n", b" ", b"\\", b"a"])
def test_a_megabyte_that_names_nothing_is_looked_through_once(tmp_path: Path, start: bytes, filling: bytes) -> None:
    assert newest(tmp_path, start + filling * (1 << 20), "a", "b") is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, lambda path: Path(path).symlink_to("elsewhere")])
def test_a_state_file_that_is_no_file_is_an_error(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / NAME)
    with pytest.raises(FormatError, match=NAME):
        newest_prefix(tmp_path, ["a"])


def test_without_a_state_file_the_only_checkpoint_is_the_newest(tmp_path: Path) -> None:
    assert newest_prefix(tmp_path, ["a"]) == "a"
    assert newest_prefix(tmp_path, ["a", "b"]) is None
