"""HDF5 files that lead out of themselves: links, and data in other files."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from hostile.frame import Case, outside
from hostile.h5_build import (
    h5,
    patched,
    same_but_kernels,
)

LEADS_OUT = "is a link into another file"
ELSEWHERE = "keeps its data in another file"

# Links (THREATS B1)


def _external(where: str, absolute: bool = False, inner: str = "/secret"):  # type: ignore[no-untyped-def]
    def fill(file: h5py.File, inside: Path) -> None:
        secret = outside(inside) / "secret.h5"
        file[where] = h5py.ExternalLink(str(secret) if absolute else "../outside/secret.h5", inner)

    return fill


def _soft_to_external(file: h5py.File, inside: Path) -> None:
    file["hidden/out"] = h5py.ExternalLink("../outside/secret.h5", "/")
    file["layers/dense/vars/0"] = h5py.SoftLink("/hidden/out/secret")


def _legacy_through_link(file: h5py.File, inside: Path) -> None:
    file["model_weights/lstm/inner"] = h5py.ExternalLink("../outside/secret.h5", "/")
    file["model_weights"].attrs["layer_names"] = [b"lstm"]
    file["model_weights/lstm"].attrs["weight_names"] = [b"inner/secret"]


def _fifo_link(file: h5py.File, inside: Path) -> None:
    os.mkfifo(inside / "pipe")
    file["out"] = h5py.ExternalLink("pipe", "/")


def _user_link(file: h5py.File, inside: Path) -> None:
    file["userlink"] = h5py.ExternalLink("../outside/secret.h5", "/secret")


def _self_link(file: h5py.File, inside: Path) -> None:
    file["again"] = h5py.ExternalLink("model.h5", "/")


def _soft_chain(file: h5py.File, inside: Path) -> None:
    for number in range(300):
        file[f"soft/{number}"] = h5py.SoftLink(f"/soft/{(number + 1) % 300}")


def _soft_out(file: h5py.File, inside: Path) -> None:
    for number, target in enumerate(("../../../etc/passwd", "/../outside/secret.h5", ".", "/", "a" * 5000)):
        file[f"soft{number}"] = h5py.SoftLink(target)


_LINKS = (
    Case(
        "h5-external-link", "a dataset of the root is one of another file", h5(_external("kernel")), "error", LEADS_OUT
    ),
    Case(
        "h5-external-link-absolute", "the same, by an absolute path", h5(_external("kernel", True)), "error", LEADS_OUT
    ),
    Case("h5-external-link-deep", "the link lies ten groups deep", h5(_external("g/" * 10 + "x")), "error", LEADS_OUT),
    Case(
        "h5-external-group",
        "a whole group is that of another file",
        h5(_external("layers", inner="/layers")),
        "error",
        LEADS_OUT,
    ),
    Case(
        "h5-external-v3-vars",
        "`vars` of a layer lies in another file",
        h5(_external("layers/dense/vars", inner="/vars"), "m.weights.h5"),
        "error",
        LEADS_OUT,
    ),
    Case(
        "h5-external-behind-soft",
        "a soft link leads through an external link",
        h5(_soft_to_external),
        "error",
        LEADS_OUT,
    ),
    Case(
        "h5-external-weight-name",
        "weight_names leads through an external link",
        h5(_legacy_through_link),
        "error",
        LEADS_OUT,
    ),
    Case("h5-external-link-to-fifo", "the other file is a pipe: opening it hangs", h5(_fifo_link), "error", LEADS_OUT),
    Case("h5-external-link-to-itself", "the other file is the file itself", h5(_self_link), "error", LEADS_OUT),
    Case(
        "h5-external-link-new-format",
        "an external link in the new group format",
        h5(_external("g/x"), libver="latest"),
        "error",
        LEADS_OUT,
    ),
    Case(
        "h5-user-defined-link",
        "a link of a type that a plugin would define",
        patched(h5(_user_link), (b"\x40\x08userlink", b"\x51\x08userlink")),
        "error",
        LEADS_OUT,
    ),
    Case("h5-soft-link-ring", "300 soft links in a ring", h5(_soft_chain), "handled", untouched=same_but_kernels),
    Case(
        "h5-soft-links-out",
        "soft links that look like paths of the file system",
        h5(_soft_out),
        "handled",
        untouched=same_but_kernels,
    ),
)

# Data in other files (THREATS B2, B3, C2)


def _stored_outside(where: str, absolute: bool = True, dtype: str = "f4"):  # type: ignore[no-untyped-def]
    def fill(file: h5py.File, inside: Path) -> None:
        secret = str(outside(inside) / "secret.txt") if absolute else "../outside/secret.txt"
        size = 128 // np.dtype(dtype).itemsize
        file.create_dataset(where, (size // 4, 4), dtype, external=[(secret, 0, h5py.h5f.UNLIMITED)])

    return fill


def _two_outside(file: h5py.File, inside: Path) -> None:
    secret = str(outside(inside) / "secret.txt")
    (inside / "own.raw").write_bytes(bytes(64))
    file.create_dataset("x/kernel", (4, 8), "f4", external=[(str(inside / "own.raw"), 0, 64), (secret, 0, 64)])


def _virtual(source: str, name: str = "secret", where: str = "v/kernel", shape: tuple[int, ...] = (8, 8)):  # type: ignore[no-untyped-def]
    def fill(file: h5py.File, inside: Path) -> None:
        layout = h5py.VirtualLayout(shape, "f4")
        layout[...] = h5py.VirtualSource(source.replace("OUT", str(outside(inside))), name, shape)
        file.create_virtual_dataset(where, layout, fillvalue=1)

    return fill


def _virtual_pattern(file: h5py.File, inside: Path) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((4, 8), (h5py.h5s.UNLIMITED, 8))
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (1, 1), (1, 8))
    source = h5py.h5s.create_simple((1, 8))
    creation.set_virtual(space, b"../outside/%b.h5", b"/secret", source)
    whole = h5py.h5s.create_simple((4, 8), (h5py.h5s.UNLIMITED, 8))
    h5py.h5d.create(file.id, b"kernel", h5py.h5t.IEEE_F32LE, whole, dcpl=creation)


_STORAGE = (
    Case(
        "h5-external-storage",
        "the bytes of a kernel are those of another file, to be read or overwritten",
        h5(_stored_outside("x/kernel")),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-external-storage-relative",
        "the same by a relative path",
        h5(_stored_outside("x/kernel", False)),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-external-storage-bias",
        "only a variable that is not selected lies outside",
        h5(_stored_outside("x/bias")),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-external-storage-integers",
        "integers that nobody computes with lie outside",
        h5(_stored_outside("step", dtype="i8")),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-external-storage-text",
        "a text lies outside: a report could show it",
        h5(_stored_outside("text", dtype="S8")),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-external-storage-two",
        "the first part lies in the folder, the second outside",
        h5(_two_outside),
        "error",
        ELSEWHERE,
    ),
    Case("h5-virtual", "a virtual dataset maps another file", h5(_virtual("OUT/secret.h5")), "error", ELSEWHERE),
    Case(
        "h5-virtual-relative", "the same by a relative path", h5(_virtual("../outside/secret.h5")), "error", ELSEWHERE
    ),
    Case(
        "h5-virtual-itself",
        "a virtual dataset maps itself: HDF5 1.14 recurses until it dies",
        h5(_virtual(".", "v/kernel")),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-virtual-missing",
        "the source is missing: HDF5 gives the fill value instead",
        h5(_virtual("nowhere.h5")),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-virtual-own",
        "the source is another dataset of the same file",
        h5(_virtual(".", "dense/kernel", shape=(8, 4))),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-virtual-pattern",
        "a pattern of names probes which files are there",
        h5(_virtual_pattern, libver="latest"),
        "error",
        ELSEWHERE,
    ),
    Case(
        "h5-virtual-bias",
        "a virtual dataset that is not selected",
        h5(_virtual("OUT/secret.h5", where="v/bias")),
        "error",
        ELSEWHERE,
    ),
)

CASES = (*_LINKS, *_STORAGE)
