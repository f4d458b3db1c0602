"""The instructions of a pickle: as Python's own machine carries them out, but that nothing is imported or called."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import torch_files
from support.files import look
from support.torch_files import text

from renorm_cli.errors import FormatError
from renorm_cli.formats.torch.stack_machine import Damaged, Global, Machine, Made, Pairs
from renorm_cli.formats.torch.tensors import Storage, Storages, Tensor, call, tensors

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def plain(value: Any) -> Any:
    """A value with its dicts as Python has them."""
    if isinstance(value, Pairs):
        return {key: plain(inner) for key, inner in value.items}
    if isinstance(value, list | tuple):
        return type(value)(plain(inner) for inner in value)
    if isinstance(value, Made) and value.what == Global("_codecs.encode"):
        return value.args[0].encode("latin-1")  # as bytes are written for Python 2
    if isinstance(value, Made) and value.what in (Global("builtins.bytes"), Global("__builtin__.bytes")):
        return b""
    return value


@given(value=PLAIN, protocol=st.integers(2, 5))
def test_plain_values_are_what_they_were(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    machine = Machine(data + data)
    for _ in range(2):
        assert plain(machine.load()) == value
    assert machine.at == 2 * len(data)


@pytest.mark.parametrize("protocol", [0, 1])
def test_old_protocols_are_read(protocol: int) -> None:
    value = {"a": [1, 2.5, None, True, "x"], "b": (1 << 70, -3)}
    assert plain(Machine(pickle.dumps(value, protocol)).load()) == value


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


MEANT: dict[str, bytes] = {
    "reduce": pickle.dumps(_Runs()),
    "global": b"cos\nsystem\n(S'touch ran'\ntR.",
    "instance": b"(S'touch ran'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'touch ran'\no.",
    "new": b"\x80\x02cos\nsystem\nX\x09\x00\x00\x00touch ran\x85\x81.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
    "build": b"\x80\x02c__main__\nX\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsbX\x09\x00\x00\x00touch ranb.",
    "persistent": b"\x80\x02X\x09\x00\x00\x00touch ranQ.",
}


@pytest.mark.parametrize("name", MEANT)
def test_what_would_run_is_only_noted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Machine(MEANT[name]).load()
    assert list(tmp_path.iterdir()) == []


def test_no_import_and_no_call_of_the_system_comes_of_a_pickle(tmp_path: Path) -> None:
    """Asked of an audit hook: an archive whose pickle would open a file, start a program and import a module."""
    old = {name: content for name, content in MEANT.items() if b"\x80\x04" not in content}
    pairs = {name: content.removeprefix(b"\x80\x02")[:-1] for name, content in old.items()}
    pairs |= {"import": b"cantigravity\nfly\n)R", "w.weight": torch_files.of_array("0", np.ones((2, 3), np.float32))}
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", torch_files.pickled(pairs))
        archive.writestr("m/data/0", np.ones((2, 3), np.float32).tobytes())
    code = f"""
import sys
from renorm_cli.api.verbs import inspect
inspect({str(path)!r}, engine="numpy")  # everything is imported now
told = []
sys.addaudithook(lambda event, args: told.append((event, args)))
report = inspect({str(path)!r}, engine="numpy")
bad = [one for one in told if one[0].split(".")[0] in ("exec", "import", "subprocess", "pickle", "marshal", "socket")
       or one[0] in ("os.system", "os.exec", "os.fork", "os.posix_spawn", "compile")]
assert len(report.rows) == 1 and bad == [], bad
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {one.name for one in tmp_path.iterdir()} == {"m.pt"}


DAMAGED: dict[str, bytes] = {
    "nothing": b"",
    "no end": b"N",
    "no value": b".",
    "an unknown instruction": b"\x01.",
    "too short a text": b"X\xff\xff\xff\x7fa.",
    "a negative length": b"T\xff\xff\xff\xff.",
    "a length of 2**64": b"\x8e" + b"\xff" * 8 + b".",
    "nothing remembered": b"h\x05.",
    "a memo of nothing": b"q\x00.",
    "no mark": b"t.",
    "a pair in a list": b"]NNs.",
    "an item in a dict": b"}Na.",
    "an odd number of items": b"}(Nu.",
    "a line that does not end": b"I" + b"1" * 5000,
    "a line that is no number": b"Ix\n.",
    "a name that is a tuple doubled 40 times": text("torch") + b")" + b"q\x00h\x00\x86" * 40 + b"\x93.",
    "a name that is 200,000 tuples": text("torch") + b")" + b"\x85" * 200_000 + b"\x93.",
    "a module that is a number": b"K\x01" + text("a") + b"\x93.",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_one_error(name: str) -> None:
    with pytest.raises(Damaged, match=r"\Aits pickle [^\n]+\Z"):
        Machine(DAMAGED[name]).load()


BOMBS: dict[str, bytes] = {
    "a memo of 2**31": b"Nr\xff\xff\xff\x7f.",
    "a long number": b"\x8b\xff\x00\x00\x00" + b"\x7f" * 255 + b".",
    "tuples in tuples": b"(" * 1000 + b"t" * 1000 + b".",
    "lists of one list": b"]q\x00" + b"h\x00a" * 100_000 + b".",
    "doubled lists": b"]" + b"2\x86" * 50_000 + b".",
    "marks": b"(" * 100_000 + b"N.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_need_much_memory_or_depth_takes_little(name: str) -> None:
    Machine(BOMBS[name]).load()


SUBCLASS = b"ctorch._tensor\n_rebuild_from_type_v2\n"
ODD: dict[str, bytes] = {
    "100,000 subclasses in each other": SUBCLASS + b"(" + (SUBCLASS + b"N(") * 100_000 + b")" + b"t" * 100_000 + b"tR",
    "a key of 6,000 digits": b"}" + b"\x8b" + struct.pack("<i", 2600) + b"\1" * 2600 + b"K\x01s",
}


ORDERED = b"ccollections\nOrderedDict\nq\1"
ITEMS = b"(" + b"NN\x86" * 1_000 + b"t\x85q\0"
SHARED: dict[str, bytes] = {
    "the items of ordered dicts": ITEMS + ORDERED + b"](" + b"h\1h\0R" * 1_000 + b"e",
    "the arguments of calls": ITEMS + b"0(" + b"N" * 1_000 + b"tq\0](" + b"ca\nb\nh\0R" * 1_000 + b"e",
    "the state of objects": b"}(" + b"K\1N" * 1_000 + b"uq\0](" + b"ca\nb\n)Rh\0b" * 1_000 + b"e",
    "the path of lists": b"}" + text("n" * 1000) + b"}" + text("n" * 1000) + b"](" + b"]" * 2_000 + b"ess",
}


@pytest.mark.parametrize("name", SHARED)
def test_what_many_objects_share_is_not_read_for_each(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("renorm_cli.formats.torch.stack_machine._MOST_STEPS", 20_000)
    monkeypatch.setattr("renorm_cli.formats.torch.tensors._MOST_SPENT", 1 << 21)
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + SHARED[name] + b".")
    with pytest.raises(FormatError, match=r"its pickle (names more objects|has more than)[^\n]+\Z"):
        look(tmp_path / "m.pt")


def test_a_name_that_20_000_tensors_have_is_numbered(tmp_path: Path) -> None:
    pair = text("a") + torch_files.of_array("0", np.ones((2, 2), np.float32))
    value = Machine(b"}(" + pair + b"q\0" + b"X\1\0\0\0ah\0" * 20_000 + b"u.", call, Storages()).load()
    names = [name for name, _ in tensors(value)]
    assert names[:3] == ["a", "a#2", "a#3"]
    assert len(set(names)) == 20_001


@pytest.mark.parametrize("name", ODD)
def test_an_odd_object_without_tensors_is_one_error(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + ODD[name] + b".")
    with pytest.raises(FormatError, match=r"\A[^\n]+\Z"):
        look(tmp_path / "m.pt")


def test_a_pickle_of_more_instructions_than_any_model_has_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("renorm_cli.formats.torch.stack_machine._MOST_STEPS", 100)
    torch_files.write_torch(tmp_path / "m.pt", {f"{n}.weight": np.ones((2, 2), np.float32) for n in range(10)})
    with pytest.raises(FormatError, match="more than 100 instructions"):
        look(tmp_path / "m.pt")


@pytest.mark.parametrize(("state", "groups"), [([], 1), ([("groups", 2)], 2), ([("groups", "2")], 0)])
def test_a_tensor_has_the_class_and_the_groups_of_its_module(state: list[tuple[str, Any]], groups: int) -> None:
    weight = Tensor(Storage("float32", "0", 24), 0, (4, 2, 3), (6, 3, 1), "float32")
    parts = [("_parameters", Pairs([("weight", weight)])), ("_buffers", Pairs()), ("_modules", Pairs())]
    module = Made(Global("torch.nn.modules.conv.ConvTranspose1d"), (), Pairs([*parts, *state]))
    assert [(name, found.layer, found.groups) for name, found in tensors(module)] == [
        ("weight", "ConvTranspose1d", groups)
    ]


def test_a_list_that_every_call_reads_counts_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renorm_cli.formats.torch.stack_machine._MOST_STEPS", 1000)
    long = b"(" + b"K\x00" * 200 + b"lq\x00"
    for count in (2, 6):
        calls = b"ccollections\nOrderedDict\nh\x00\x85R0" * count
        machine = Machine(long + calls + b".")
        if count == 2:
            machine.load()
        else:
            with pytest.raises(Damaged, match="more than 1000 instructions"):
                machine.load()
