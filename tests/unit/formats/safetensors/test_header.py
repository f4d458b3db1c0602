"""What our reader makes of a header, against the library: it is never looser where that matters."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from support import tensor_files

from renorm_cli.errors import FormatError
from renorm_cli.formats.safetensors.header import DTYPES, Header, read_header
from renorm_cli.storage.files import open_source

ENTRY = tensor_files.ENTRY
SOUND = json.dumps({"a": ENTRY})
DATA = bytes(8)


def header_of(path: Path) -> Header:
    file = open_source(path)
    try:
        return read_header(file)
    finally:
        file.close()


TEXTS = {
    "sound": SOUND,
    "metadata": json.dumps({"__metadata__": {"format": "pt"}, "a": ENTRY}),
    "metadata null": SOUND[:-1] + ', "__metadata__": null}',
    "spaces behind": SOUND + "  \n",
    "surrogate pair": json.dumps({"\U0001f600": ENTRY}),
    "twice": SOUND[:-1] + "," + SOUND[1:],
    "field more": SOUND.replace('"dtype"', '"x": 1, "dtype"'),
    "float": SOUND.replace("[2]", "[2.0]"),
    "negative": SOUND.replace("[2]", "[-2]"),
    "NaN": SOUND.replace("[2]", "[NaN]"),
    "BOM": "\ufeff" + SOUND,
    "NUL": SOUND + "\0",
    "list": f"[{SOUND}]",
    "no offsets": SOUND.replace("data_offsets", "offsets"),
    "no shape": SOUND.replace("shape", "size"),
    "2**64": SOUND.replace("[2]", f"[{1 << 64}]"),
    "metadata number": SOUND[:-1] + ', "__metadata__": {"a": 1}}',
    "gap": SOUND.replace("[0, 8]", "[4, 12]"),
    "dtype": SOUND.replace("F32", "f32"),
    "lone surrogate": SOUND.replace('"a"', '"\\ud800"'),
    "comment": SOUND + "//",
    "empty": "{}",
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_the_library_refuses_is_refused(name: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = tmp_path / "m"
    path.write_bytes(tensor_files.safetensors(TEXTS[name].encode(), DATA if name != "empty" else b""))
    try:
        ours = set(header_of(path).tensors)
    except FormatError:
        return
    with safetensors.safe_open(path, "numpy") as theirs:
        assert set(theirs.keys()) == ours


def test_sound_headers_are_read_and_what_readers_may_see_differently_is_not(tmp_path: Path) -> None:
    read = set()
    for name, text in TEXTS.items():
        (tmp_path / "m").write_bytes(tensor_files.safetensors(text.encode(), DATA if name != "empty" else b""))
        try:
            header_of(tmp_path / "m")
            read.add(name)
        except FormatError:
            pass
    assert read == {"sound", "metadata", "metadata null", "spaces behind", "surrogate pair", "empty"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dtype_has_the_size_that_the_library_gives_it(dtype: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    count = 8
    size = count * DTYPES[dtype][1] // 8
    header = {"a": {"dtype": dtype, "shape": [count], "data_offsets": [0, size]}}
    (tmp_path / "m").write_bytes(tensor_files.safetensors(header, bytes(size)))
    assert header_of(tmp_path / "m").tensors["a"].end == (tmp_path / "m").stat().st_size
    with safetensors.safe_open(tmp_path / "m", "numpy") as theirs:
        assert theirs.get_slice("a").get_shape() == [count]
    header["a"]["data_offsets"] = [0, size + 1]
    (tmp_path / "m").write_bytes(tensor_files.safetensors(header, bytes(size + 1)))
    with pytest.raises(FormatError, match="by its shape"):
        header_of(tmp_path / "m")
    with pytest.raises(safetensors.SafetensorError):
        safetensors.safe_open(tmp_path / "m", "numpy").__enter__()


FILLING = {
    "a gap before it": ({"a": ENTRY | {"data_offsets": [4, 12]}}, 12, "leaves a gap before it"),
    "no whole number of bytes": ({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, 1, "needs 1.5 bytes"),
    "three offsets": ({"a": ENTRY | {"data_offsets": [0, 8, 8]}}, 8, "that are no two offsets"),
    "bytes behind it": ({"a": ENTRY}, 9, "holds bytes that belong to no tensor"),
    "fewer bytes": ({"a": ENTRY}, 7, "is cut short"),
}


@pytest.mark.parametrize("name", FILLING)
def test_a_tensor_is_refused_that_has(name: str, tmp_path: Path) -> None:
    header, count, said = FILLING[name]
    (tmp_path / "m").write_bytes(tensor_files.safetensors(header, bytes(count)))
    with pytest.raises(FormatError, match=said):
        header_of(tmp_path / "m")


def test_the_size_of_the_header_is_little_endian(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(struct.pack(">Q", len(SOUND)) + SOUND.encode() + DATA)
    with pytest.raises(FormatError, match="damaged or cut short"):
        header_of(tmp_path / "m")
