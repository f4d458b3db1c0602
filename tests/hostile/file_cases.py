"""Hostile things to find under a path, whatever the format; and outputs that are traps."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from hostile.frame import Case
from hostile.h5_build import h5, same_but_kernels

_SOUND = h5(lambda file, inside: None)


def _made(name: str, make: Callable[[Path], object]) -> Callable[[Path], Path]:
    def build(inside: Path) -> Path:
        make(inside / name)
        return inside / name

    return build


def _socket(path: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(path.parent)  # the path of a socket has at most 108 bytes
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


def _ring(path: Path) -> None:
    path.symlink_to("other")
    (path.parent / "other").symlink_to(path.name)


def _long_chain(path: Path) -> None:
    for number in range(60):
        (path.parent / f"l{number}").symlink_to(f"l{number + 1}")
    path.symlink_to("l0")


def _folder_ring(path: Path) -> None:
    path.mkdir()
    (path / "variables").symlink_to(".")
    (path / "assets").symlink_to("../model")


def _index_folder(path: Path) -> None:
    path.mkdir()
    (path / "ckpt.index").mkdir()


def _index_fifo(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "ckpt.index")


def _filled(size: int, byte: bytes = b"\0") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(byte * size)


def _hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 64 << 30)


def _special(path: str) -> Callable[[Path], Path]:
    return lambda inside: Path(path)


_FILES = (
    Case(
        "file-fifo",
        "a named pipe makes open() wait for ever",
        _made("model.h5", os.mkfifo),
        "error",
        "not a regular file",
    ),
    Case(
        "file-fifo-keras",
        "a named pipe with the name of an archive",
        _made("model.keras", os.mkfifo),
        "error",
        "not a regular file",
    ),
    Case(
        "file-fifo-index",
        "a named pipe with the name of an index",
        _made("ckpt.index", os.mkfifo),
        "error",
        "not a regular file",
    ),
    Case("file-socket", "a socket", _made("model.h5", _socket), "error", "model.h5"),
    Case(
        "file-device-zero",
        "a device that never ends",
        _special("/dev/zero"),
        "error",
        "not a regular file",
        commands=("inspect",),
    ),
    Case(
        "file-device-null",
        "a device without an end",
        _special("/dev/null"),
        "error",
        "not a regular file",
        commands=("inspect",),
    ),
    Case(
        "file-link-to-device",
        "a link to a device",
        _made("model.h5", lambda path: path.symlink_to("/dev/zero")),
        "error",
        "not a regular file",
    ),
    Case(
        "file-link-to-fifo",
        "a link to a named pipe",
        _made("model.h5", lambda path: (os.mkfifo(path.parent / "p"), path.symlink_to("p"))),
        "error",
        "not a regular file",
    ),
    Case(
        "file-proc",
        "a file that says it has 0 bytes",
        _special("/proc/self/environ"),
        "error",
        "is empty",
        commands=("inspect",),
    ),
    Case("file-link-ring", "two links to each other", _made("model.h5", _ring), "error", "model.h5"),
    Case("file-link-chain", "60 links in a chain", _made("model.h5", _long_chain), "error", "model.h5"),
    Case(
        "file-link-dangling",
        "a link to nothing",
        _made("model.h5", lambda path: path.symlink_to("nothing")),
        "error",
        "no such file",
    ),
    Case("file-missing", "nothing is there", _made("model.h5", lambda path: None), "error", "no such file"),
    Case("file-empty", "a file of 0 bytes", _made("model.h5", Path.touch), "error", "is empty"),
    Case(
        "file-one-byte", "a file of 1 byte", _made("model.h5", _filled(1)), "error", "no checkpoint of a known format"
    ),
    Case(
        "file-zeros",
        "a megabyte of zeros",
        _made("model.h5", _filled(1 << 20)),
        "error",
        "no checkpoint of a known format",
    ),
    Case(
        "file-blanks",
        "ten megabytes of blanks",
        _made("model.json", _filled(10 << 20, b" ")),
        "error",
        "no checkpoint of a known format",
    ),
    Case(
        "file-braces",
        "a megabyte of opening braces",
        _made("m.weights.json", _filled(1 << 20, b"{")),
        "error",
        "m.weights.json",
    ),
    Case(
        "file-quotes",
        "a megabyte of quotes behind a brace",
        _made("m.weights.json", lambda path: path.write_bytes(b"{" + b'"' * (1 << 20))),
        "error",
        "m.weights.json",
    ),
    Case("file-hole", "64 GiB of hole", _made("model.h5", _hole), "error", "no checkpoint of a known format"),
    Case(
        "file-name-escape",
        "the file's own name holds escapes and a line end",
        _made("\x1b[2J\n::error::x.h5", lambda path: path.write_bytes(b"odd")),
        "error",
        "no checkpoint of a known format",
    ),
    Case(
        "file-name-no-utf8",
        "the file's own name is no UTF-8",
        _made("\udcff\udcfe.h5", lambda path: path.write_bytes(b"odd")),
        "error",
        "no checkpoint of a known format",
    ),
    Case(
        "file-name-long",
        "a name as long as they can be",
        _made("n" * 252 + ".h5", lambda path: path.write_bytes(b"odd")),
        "error",
        "no checkpoint of a known format",
    ),
    Case("directory-empty", "an empty folder", _made("model", Path.mkdir), "error", "no checkpoint"),
    Case(
        "directory-ring", "a folder that holds itself by links", _made("model", _folder_ring), "error", "no checkpoint"
    ),
    Case("directory-index-folder", "the index is a folder", _made("model", _index_folder), "error", "ckpt"),
    Case("directory-index-fifo", "the index is a named pipe", _made("model", _index_fifo), "error", "ckpt"),
)

# Outputs (THREATS C3)


def _trap(prepare: Callable[[Path, Path], object]) -> Callable[[Path], Path]:
    """A sound input; `prepare` gets the path of the output and that of the input."""

    def build(inside: Path) -> Path:
        path = _SOUND(inside)
        prepare(inside.parent / "result" / "out.h5", path)
        return path

    return build


def _link_out(output: Path, source: Path) -> None:
    output.symlink_to(source.parent.parent / "outside" / "secret.txt")


def _journal(text: str) -> Callable[[Path, Path], object]:
    return lambda output, source: output.with_name(".renorm-journal-out.h5").write_text(text)


def _unlinked(source: Path, output: Path) -> None:
    assert stat.S_ISREG(output.lstat().st_mode), "the output is still a link"
    assert output.stat().st_nlink == 1, "the output is still a name of the input"
    same_but_kernels(source, output)


_OUTPUTS = (
    Case(
        "output-link-out",
        "the output is a link to a file outside",
        _trap(_link_out),
        "error",
        "exists",
        commands=("apply",),
    ),
    Case(
        "output-link-out-forced",
        "the output is a link to a file outside, and may be replaced: the link, not the file",
        _trap(_link_out),
        "handled",
        untouched=_unlinked,
        commands=("apply",),
        options=("--force",),
    ),
    Case(
        "output-link-dangling",
        "the output is a link to a file outside that is not there yet",
        _trap(lambda output, source: output.symlink_to("../outside/new")),
        "error",
        "exists",
        commands=("apply",),
    ),
    Case(
        "output-exists",
        "the output is there",
        _trap(lambda output, source: output.write_bytes(b"mine")),
        "error",
        "exists",
        commands=("apply",),
    ),
    Case(
        "output-directory",
        "the output is a folder",
        _trap(lambda output, source: output.mkdir()),
        "error",
        "directory",
        commands=("apply",),
        options=("--force",),
    ),
    Case(
        "output-is-input",
        "the output is a hard link to the input",
        _trap(lambda output, source: os.link(source, output)),
        "error",
        "out.h5",
        commands=("apply",),
    ),
    Case(
        "output-link-to-input",
        "the output is a link to the input",
        _trap(lambda output, source: output.symlink_to("../inside/model.h5")),
        "error",
        "is the input",
        commands=("apply",),
        options=("--force",),
    ),
    Case(
        "output-journal-odd",
        "a planted journal beside the output",
        _trap(_journal("{")),
        "error",
        "not a journal of ours",
        commands=("apply",),
    ),
    Case(
        "output-journal-climbs",
        "a planted journal moves a file outside",
        _trap(_journal('[[".renorm-x", "../outside/secret.txt"], [".renorm-y", "out.h5"]]')),
        "error",
        "not a journal of ours",
        commands=("apply",),
    ),
    Case(
        "output-journal-fifo",
        "a planted journal is a named pipe",
        _trap(lambda output, source: os.mkfifo(output.with_name(".renorm-journal-out.h5"))),
        "error",
        "out.h5",
        commands=("apply",),
    ),
    Case(
        "output-journal-link",
        "a planted journal is a link out",
        _trap(lambda output, source: output.with_name(".renorm-journal-out.h5").symlink_to("../outside/secret.json")),
        "error",
        "out.h5",
        commands=("apply",),
    ),
    Case(
        "input-journal",
        "a planted journal beside the input: is it half replaced?",
        _trap(lambda output, source: source.with_name(".renorm-journal-model.h5").write_text("[]")),
        "error",
        "half replaced",
    ),
)

CASES = (*_FILES, *_OUTPUTS)
