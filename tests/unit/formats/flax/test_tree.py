"""msgpack files: as flax writes and reads them, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import msgpack_files
from support.files import agrees, bound, look
from support.memory_file import MemoryFile

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Head
from renorm_cli.formats.flax.format import FlaxFormat
from renorm_cli.formats.flax.tree import read_leaves

TREE = msgpack_files.flax_tree()
SOUND = msgpack_files.packed(TREE)
packed, extension = msgpack_files.packed, msgpack_files.extension
ARRAY = np.ones(2, np.float32)


def recognised(content: bytes) -> bool:
    return FlaxFormat().recognises(Head(MemoryFile(Path("m"), content)))


def read(content: bytes) -> list[str]:
    return [leaf.path for leaf in read_leaves(MemoryFile(Path("m"), content), len(content), "m")]


@pytest.mark.slow
def test_flax_reads_an_output_as_the_oracle_makes_it(tmp_path: Path) -> None:
    serialization = pytest.importorskip("flax.serialization")
    path, out = tmp_path / "m.msgpack", tmp_path / "out.msgpack"
    path.write_bytes(serialization.msgpack_serialize(TREE))
    bound(path, out)
    after = serialization.msgpack_restore(out.read_bytes())
    for key, axes in msgpack_files.FLAX_KERNELS.items():
        before, found = TREE, after
        for part in key.split("/"):
            before, found = before[part], found[part]
        agrees(np.asarray(before), np.asarray(found), axes, 1.0)
    assert after["step"] == 7


def test_the_library_reads_the_same_arrays(tmp_path: Path) -> None:
    msgpack = pytest.importorskip("msgpack")
    (tmp_path / "m").write_bytes(SOUND)
    tree = msgpack.unpackb(SOUND, ext_hook=lambda code, data: msgpack.unpackb(data) if code == 1 else None)
    shapes = {}
    waiting = [("", tree)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}/{key}".strip("/"), one) for key, one in value.items()]
        else:
            shapes[path] = tuple(value[0])
    report = look(tmp_path / "m")
    ours = {one.name: one.shape for one in [row.step.variable for row in report.rows]}
    ours |= {skip.variable.name: skip.variable.shape for skip in report.skips}
    assert ours == shapes


OTHERS = {
    "a tree without arrays": {"a": 1, "b": {"c": "text"}},
    "another extension": {"a": 1},
    "lists": {"layers": [{"kernel": ARRAY}, {"kernel": ARRAY}], "text": "x", "none": None},
}


def test_a_tree_is_known_by_its_first_array_wherever_that_is() -> None:
    assert recognised(SOUND)
    assert recognised(packed(OTHERS["lists"]))
    assert recognised(packed({"big": np.zeros(100_000, np.float32)}))
    assert not recognised(packed(OTHERS["a tree without arrays"]))
    assert not recognised(packed(OTHERS["another extension"]) + extension(5, b"x"))
    for content in (b"", b"\x80", b"\x81", b"\x81\xa1a", bytes([0x85]) + b"\xc1" * 50):
        assert not recognised(content)


def test_lists_are_numbered_and_other_values_are_passed_over() -> None:
    assert read(packed(OTHERS["lists"])) == ["layers/0/kernel", "layers/1/kernel"]


DAMAGED = {
    "cut short": SOUND[:-1],
    "more behind": SOUND + b"\0",
    "a key twice": b"\x82" + (packed("a") + packed(ARRAY)) * 2,
    "a key that is a list": b"\x81\x90" + packed(ARRAY),
    "too deep": b"\x81\xa1a" * 100 + packed(ARRAY),
    "a length beyond the file": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "an array of two": b"\x81\xa1a" + extension(1, packed([[2], "float32"])),
    "a shape of text": b"\x81\xa1a" + extension(1, packed([["x"], "float32", b""])),
    "a shape that is no list": b"\x81\xa1a" + extension(1, packed(["x", "float32", b""])),
    "bytes of another size": b"\x81\xa1a" + extension(1, packed([[2], "float32", bytes(9)])),
    "a shape of 2**200": b"\x81\xa1a" + extension(1, packed([[1 << 62] * 4, "float32", bytes(8)])),
    "a value inside of an array": b"\x82\xa1a"
    + extension(1, packed([[2], "float32", bytes(8)]) + packed("b") + packed(1)),
    "bytes behind an array": b"\x81\xa1a" + extension(1, packed([[2], "float32", bytes(8)]) + b"\0"),
    "an array of chunks": packed({"a": {"__msgpack_chunked_array__": True, "chunks": {"0": ARRAY}}}),
    "a list": packed([ARRAY]),
    "a reserved code": b"\x81\xa1a\xc1",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_one_error(name: str) -> None:
    with pytest.raises(FormatError, match=r"\A'm' is no sound msgpack file of flax: [^\n]+\Z"):
        read(DAMAGED[name])
