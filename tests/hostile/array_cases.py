"""Hostile files of NumPy and flax: headers, pickles, archives and trees."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.msgpack_files import extension, packed
from support.zip_maker import Entry, make_zip

from hostile.frame import Case, later

ONE = np.full((2, 1), 3, "<f4")


def _put(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        (inside / name).write_bytes(content)
        return inside / name

    return make


def _npy(text: str = "", data: bytes = ONE.tobytes(), length: int | None = None) -> bytes:
    header = (text or "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }").encode() + b"\n"
    size = len(header) if length is None else length
    return b"\x93NUMPY\x02\x00" + struct.pack("<L", size) + header + data


def _array(**other: str) -> bytes:
    fields = {"descr": "'<f4'", "fortran_order": "False", "shape": "(2, 1)"} | other
    return _npy("{" + ", ".join(f"'{key}': {value}" for key, value in fields.items()) + ", }")


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return (open, ("../outside/secret.txt",))


def _npz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _file(label: str, attack: str, content: bytes, says: str) -> Case:
    return Case(f"npy-{label}", attack, _put("m.npy", content), "error", says)


def _archive(label: str, attack: str, members: dict[str, bytes], says: str, method: int = zipfile.ZIP_STORED) -> Case:
    members = {"a.weight.npy": _npy()} | members
    return Case(f"npz-{label}", attack, _put("m.npz", _npz(members, method)), "error", says)


def _tree(label: str, attack: str, content: bytes, says: str) -> Case:
    return Case(f"flax-{label}", attack, _put("m.msgpack", content), "error", says)


def _alike(before: Path, after: Path) -> None:
    with zipfile.ZipFile(before) as one, zipfile.ZipFile(after) as other:
        assert other.testzip() is None
        assert one.namelist() == other.namelist()
        assert one.read("pickle.npy") == other.read("pickle.npy")


_PICKLED = _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps(_Runs()))
_SOUND = b"\x82" + packed("a") + packed({"kernel": ONE}) + packed("b")
_BOMB = later(lambda: _put("m.npz", _npz({"a.weight.npy": _npy(), "b.npy": bytes(200 << 20)}, zipfile.ZIP_DEFLATED)))

CASES = (
    _file("length", "a header longer than the file", _npy(length=1 << 31), "damaged or cut short"),
    _file("version", "a version of no NumPy", b"\x93NUMPY\x09\x00" + _npy()[8:], "has version 9"),
    _file("call", "a header that is code", _npy("{'descr': exit()}"), "as NumPy writes"),
    _file("deep", "a header of 100,000 brackets", _npy("(" * 100_000), "as NumPy writes"),
    _file("huge", "10.9 TiB by its shape", _array(shape="(1000000000000, 3)"), "by its shape"),
    _file("overflow", "a shape whose product is beyond 64 bits", _array(shape="(9999999999, 9999999999)"), "by its"),
    _file("no-elements", "no elements beside 2**62", _array(shape=f"({1 << 62}, 0)")[: -ONE.nbytes], "no array"),
    _file("negative", "a negative size", _array(shape="(-2, -1)"), "as NumPy writes"),
    _file("digits", "a size of 10,000 digits", _array(shape=f"({'9' * 10_000},)"), "as NumPy writes"),
    _file("axes", "70 axes", _array(shape=f"({'1, ' * 70})"), "as NumPy writes"),
    _file("twice", "a dtype comes twice: NumPy takes the last", _array(descr="'<f8', 'descr': '<f4'"), "as NumPy"),
    _file("short", "data that end too soon", _npy()[:-1], "by its shape"),
    _file("object", "an object, which is a pickle", _PICKLED, "no floating variable"),
    _archive("member", "a member that is no array", {"x.txt": b"text"}, "is no array of NumPy"),
    _archive("keras", "a .keras archive behind an array", {"config.json": b"{}"}, "is no array of NumPy"),
    _archive("empty", "a member of no bytes", {"b.npy": b""}, "is no array of NumPy"),
    _archive("traversal", "a member in the folder above", {"../b.npy": _npy()}, "unsafe name"),
    _archive("long", "a header longer than its member", {"b.npy": _npy(length=1 << 20)}, "damaged or cut short"),
    _archive("deflated", "a damaged header in an archive that is compressed", {"b.npy": b"x"}, "is no array", 8),
    Case("npz-bomb", "200 MB in 200 kB that are no array", _BOMB, "error", "is no array", commands=("inspect",)),
    Case(
        "npz-crc",
        "a checksum that is not true: NumPy refuses the array",
        _put("m.npz", make_zip([Entry("a.weight.npy", _npy(), local={"crc": 1}, central={"crc": 1})])),
        "error",
        "damaged",
        commands=("apply",),
        opens=True,
    ),
    Case(
        "npz-twice",
        "two members of one name",
        _put("m.npz", make_zip([Entry("a.npy", _npy()), Entry("a.npy", _npy())])),
        "error",
        "is there twice",
    ),
    Case(
        "npz-pickle",
        "a pickle beside an array, which would open a file",
        _put("m.npz", _npz({"a.weight.npy": _npy(), "pickle.npy": _PICKLED})),
        "handled",
        untouched=_alike,
    ),
    Case(
        "npz-pickle-deflated",
        "the same, compressed",
        _put("m.npz", _npz({"a.weight.npy": _npy(), "pickle.npy": _PICKLED}, zipfile.ZIP_DEFLATED)),
        "handled",
        untouched=_alike,
    ),
    _tree("cut", "the tree is cut short", _SOUND, "cut short"),
    _tree("behind", "bytes behind the tree", packed({"a": ONE}) + b"\0", "its tree ends"),
    _tree("long", "an array longer than the file", b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "known format"),
    _tree("long-second", "a further array longer than it", _SOUND + b"\xc9\xff\xff\xff\xff\x01", "longer than what"),
    _tree("items", "2**32 items", _SOUND + b"\xdd\xff\xff\xff\xff", "longer than what"),
    _tree("deep", "100,000 maps in maps", _SOUND + b"\x81\xa1a" * 100_000, "nested deeper"),
    _tree("twice", "a key comes twice", b"\x82" + (packed("a") + packed(ONE)) * 2, "comes twice"),
    _tree("paths", "two arrays of one path", packed({"a": {"b": ONE}, "a/b": ONE}), "have the path"),
    _tree(
        "shape",
        "an array whose shape is not its bytes'",
        _SOUND + extension(1, packed([[1 << 62, 4], "float32", bytes(8)])),
        "by its shape",
    ),
    _tree(
        "no-elements",
        "no elements beside 2**62",
        _SOUND + extension(1, packed([[1 << 62, 0], "float32", b""])),
        "no array",
    ),
    _tree("chunks", "an array in chunks", _SOUND + packed({"__msgpack_chunked_array__": True}), "in chunks"),
    Case(
        "flax-values",
        "3 million values",
        later(lambda: _put("m.msgpack", _SOUND + b"\xdd" + struct.pack(">L", 3_000_000) + bytes(3_000_000))),
        "error",
        "more than 2000000 values",
        commands=("inspect",),
    ),
    Case(
        "flax-names",
        "names that are escapes, and a dtype that is none",
        _put(
            "m.msgpack",
            packed({"\x1b[2J": {"kernel": ONE}, "x": np.array(["\x1b[2J"])} | {"=cmd()": {"kernel": ONE}}),
        ),
        "handled",
        commands=("inspect", "apply", "json", "csv"),
    ),
)
