"""Hostile files of PyTorch: pickles that would run code, tensors that lie, archives that readers see differently."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from support.torch_files import STREAM_MARK, number, of_array, pickled, tensor, text
from support.zip_maker import Entry, make_zip

from hostile.frame import Case, later

ONE = np.full((2, 1), 3, "<f4")
SOUND = of_array("0", ONE)
RUNS = b"cos\nsystem\n(" + text("touch ../outside/ran") + b"tR"
OPENS = b"cbuiltins\nopen\n(" + text("../outside/secret.txt") + b"tR"


def put(content: bytes, name: str = "m.pt") -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        (inside / name).write_bytes(content)
        return inside / name

    return make


def _archive(pickle_: bytes, members: Mapping[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in {"m/data.pkl": pickle_, "m/data/0": ONE.tobytes(), **(members or {})}.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _of(value: bytes, members: Mapping[str, bytes] | None = None) -> Callable[[Path], Path]:
    return put(_archive(pickled({"a.weight": SOUND, "b.weight": value}), members))


def _refused(label: str, attack: str, made: bytes | Callable[[Path], Path], says: str, **other: Any) -> Case:
    make = put(_archive(made)) if isinstance(made, bytes) else made
    return Case(f"torch-{label}", attack, make, "error", says, **other)


def _pickle(label: str, attack: str, content: bytes, says: str = "pickle") -> Case:
    return _refused(label, attack, b"\x80\x02" + content, says)


def _stream(pickle_: bytes, keys: object = ("0",), data: bytes | None = None) -> bytes:
    head = b"".join(pickle.dumps(value, 2) for value in (STREAM_MARK, 1001, {"little_endian": True}))
    stored = struct.pack("<q", 2) + ONE.tobytes() if data is None else data
    return head + pickle_ + pickle.dumps(list(keys) if isinstance(keys, tuple) else keys, 2) + stored


def _old(label: str, attack: str, content: bytes, says: str) -> Case:
    return _refused(f"stream-{label}", attack, put(content, "m.pth"), says)


def _same_pickle(before: Path, after: Path) -> None:
    with zipfile.ZipFile(before) as one, zipfile.ZipFile(after) as other:
        assert other.testzip() is None
        assert one.read("m/data.pkl") == other.read("m/data.pkl")


def _handled(label: str, attack: str, value: bytes, **other: Any) -> Case:
    return Case(f"torch-{label}", attack, _of(value), "handled", untouched=_same_pickle, **other)


_SOUND_PICKLE = pickled({"a.weight": SOUND})
_OLD = pickled({"a.weight": of_array("0", ONE, b"N")})
_ESCAPES = pickled({"\x1b[2J\n::error::.weight": SOUND, "=cmd()": of_array("0", ONE), "<script>alert(1)": SOUND})
_NESTED = b"\x80\x02" + b"}" + text("a") + b"](" * 3000 + b"N" + b"e" * 3000 + b"s."
_LONG = (
    b"\x80\x02"
    + b"}"
    + text("n" * 900) * 1
    + b"}"
    + b"".join(text("n" * 900) + b"}" for _ in range(20))
    + b"s" * 21
    + b"."
)
_MANY = later(lambda: put(_archive(pickled({f"l.{n}.weight": SOUND for n in range(20_000)}))))
_STEPS = later(lambda: put(_archive(b"\x80\x02" + b"N0" * 10_000_000 + b"N.")))

CASES = (
    _handled("system", "a pickle that runs a program", RUNS),
    _handled("open", "a pickle that opens a file", OPENS),
    _handled("import", "a pickle that imports a module", b"cantigravity\nfly\n"),
    _handled("instance", "a pickle that makes an object", b"(" + text("touch ran") + b"ios\nsystem\n"),
    _handled("state", "an object whose state is set by a method", b"c__main__\nX\n)\x81}" + text("a") + RUNS + b"sb"),
    _handled(
        "rebuild",
        "a function of PyTorch that calls what it is given",
        b"ctorch._utils\n_rebuild_parameter\n(" + RUNS + b"tR",
    ),
    _handled("extension", "a code of a registry of classes", b"\x82\x01"),
    _handled("persistent", "an id of no storage", text("../outside/secret.txt") + b"Q"),
    Case(
        "torch-names",
        "names that are escapes, formulas and markup",
        put(_archive(_ESCAPES)),
        "handled",
        commands=("inspect", "apply", "json", "csv", "html"),
    ),
    Case("torch-many", "20,000 names of one tensor", _MANY, "handled", commands=("inspect",)),
    _pickle("cut", "the pickle is cut short", b"}X\xff\xff\xff\x7fa", "cut short"),
    _pickle("empty", "the pickle is empty", b"", "cut short"),
    _pickle("unknown", "an instruction of no protocol", b"\x01."),
    _pickle("memo", "a memory that is not there", b"h\x00.", "what is not there"),
    _pickle("stack", "a stack that is empty", b"0.", "what is not there"),
    _pickle("mark", "marks that are not there", b"ttt.", "what is not there"),
    _pickle("text", "a text of 2**63 bytes", b"\x8d" + struct.pack("<Q", 1 << 63), "cut short"),
    _pickle("bytes", "bytes of 2**60", b"\x8e" + struct.pack("<Q", 1 << 60), "cut short"),
    _pickle("long", "a number of 2**31 bytes", b"\x8b\xff\xff\xff\x7f", "cut short"),
    _pickle("line", "a line that never ends", b"I" + b"1" * 10_000, "does not end"),
    _pickle("digits", "a line that is no number", b"Ione\n.", "no number"),
    _pickle("setitem", "pairs put into a list: torch wrote over memory", b"]NNs.", "no dict"),
    _refused("deep", "3,000 lists in lists", _NESTED, "nested deeper"),
    _refused("long-names", "names of 20,000 characters", _LONG, "longer names"),
    _refused("steps", "20 million instructions", _STEPS, "instructions", commands=("inspect",)),
    _refused("marks", "a million marks", b"\x80\x02" + b"(" * 1_000_000 + b"N.", "no variable"),
    _refused(
        "beyond",
        "a tensor beyond its storage",
        _of(tensor("0", "FloatStorage", 2, 0, (9, 9), (9, 1))),
        "needs 324 bytes",
    ),
    _refused(
        "offset",
        "an offset beyond the storage",
        _of(tensor("0", "FloatStorage", 2, 1 << 30, (2, 1), (1, 1))),
        "of a storage of 8",
    ),
    _refused(
        "stride",
        "a stride beyond the storage",
        _of(tensor("0", "FloatStorage", 2, 0, (2, 2), (1 << 30, 1))),
        "of a storage of 8",
    ),
    _refused(
        "numbers",
        "a storage longer than its member",
        _of(tensor("1", "FloatStorage", 99, 0, (2, 1), (1, 1)), {"m/data/1": b"12345678"}),
        "of a storage of 8",
    ),
    _refused(
        "two-kinds",
        "two classes of one storage",
        _of(tensor("0", "HalfStorage", 2, 0, (2, 1), (1, 1))),
        "two things of one storage",
    ),
    _refused(
        "missing", "a storage that is not there", _of(tensor("9", "FloatStorage", 2, 0, (2, 1), (1, 1))), "is not there"
    ),
    _refused(
        "path",
        "a storage in the folder above",
        _of(tensor("../../outside/secret.txt", "FloatStorage", 2, 0, (2, 1), (1, 1))),
        "is not there",
    ),
    _refused(
        "old-view",
        "a view of a storage",
        _of(of_array("0", ONE)[:-1].replace(b"tQ", number(1) + b"tQ") + b"R"),
        "views of storages",
    ),
    _refused(
        "two-pickles",
        "two pickles: readers take one of them",
        put(_archive(_SOUND_PICKLE, {"n/data.pkl": b"N."})),
        "has 2 pickles",
    ),
    _refused(
        "case-pickle",
        "two pickles whose names differ in case: PyTorch finds one of them",
        put(_archive(_SOUND_PICKLE, {"m/DATA.pkl": b"N."})),
        "only in case",
    ),
    _refused(
        "case-storage",
        "two storages whose names differ in case",
        put(_archive(_SOUND_PICKLE, {"m/DATA/0": ONE.tobytes()})),
        "only in case",
    ),
    _refused(
        "order", "a byte order of no machine", put(_archive(_SOUND_PICKLE, {"m/byteorder": b"middle"})), "byte order"
    ),
    _refused("traversal", "a member in the folder above", put(_archive(_SOUND_PICKLE, {"../m/x": b""})), "unsafe name"),
    _refused(
        "local-name",
        "a member that has another name in its local header (CVE-2025-1944)",
        put(make_zip([Entry("m/data.pkl", _SOUND_PICKLE, local_name=b"m/data.pkx"), Entry("m/data/0", ONE.tobytes())])),
        "local header",
    ),
    _refused(
        "flags",
        "a member that says that it is encrypted (CVE-2025-1945)",
        put(make_zip([Entry("m/data.pkl", _SOUND_PICKLE, local={"flags": 1}, central={"flags": 1})])),
        "encrypted",
    ),
    Case(
        "torch-crc",
        "a checksum that is not true",
        put(
            make_zip(
                [
                    Entry("m/data.pkl", _SOUND_PICKLE),
                    Entry("m/data/0", ONE.tobytes(), local={"crc": 1}, central={"crc": 1}),
                ]
            )
        ),
        "error",
        "damaged",
        commands=("apply",),
        opens=True,
    ),
    _old("cut", "a stream that is cut short", _stream(_OLD)[:-1], "were expected"),
    _old("more", "bytes behind a stream", _stream(_OLD) + b"x", "were expected"),
    _old("keys", "a stream without a list of storages", _stream(_OLD, {"0": 1}), "no list of storages"),
    _old("unknown", "a storage that no tensor tells of", _stream(_OLD, ("0", "1")), "no tensor tells of"),
    _old(
        "twice",
        "a storage that comes twice",
        _stream(_OLD, ("0", "0"), (struct.pack("<q", 2) + ONE.tobytes()) * 2),
        "no tensor",
    ),
    _old("numbers", "a storage of 2**62 numbers", _stream(_OLD, ("0",), struct.pack("<q", 1 << 62)), "numbers"),
    _old(
        "version",
        "a version of no PyTorch",
        _stream(_OLD).replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)),
        "of version 1001",
    ),
    _old(
        "runs",
        "a stream whose system is a program that runs",
        pickle.dumps(STREAM_MARK, 2) + b"\x80\x02" + RUNS + b".",
        "cut short",
    ),
)
