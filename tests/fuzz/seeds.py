"""Small real files to mutate, made by h5py, json and zipfile, and the samples of the repository."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from support.places import DATA, SAMPLES

Fill = Callable[[h5py.File], None]

WEIGHTS = np.linspace(-2, 2, 24, dtype="<f4").reshape(4, 6)


ARCHIVE = DATA / "hdf5_seeds.zip"


def made_seeds() -> dict[str, bytes]:
    """Every way to store a dataset, in the old and the new file format; other bytes with every second and version."""
    found = {
        f"{name} {libver}": _h5(fill, libver)
        for libver in ("earliest", "v110", "latest")
        for name, fill in _KINDS.items()
    }
    return found | {"userblock": _h5(_KINDS["v3"], "earliest", userblock_size=512)}


def hdf5_seeds() -> dict[str, bytes]:
    """What `made_seeds` once made, so that a mutant stays the same bytes, and the smaller samples."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    for path in sorted(SAMPLES.iterdir()):
        if path.suffix in (".h5", ".hdf5") and path.stat().st_size < 24_000:
            found[path.name] = path.read_bytes()
    return found


def _h5(fill: Fill, libver: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=(libver, "latest" if libver == "earliest" else libver), **options) as file:
        fill(file)
    return buffer.getvalue()


def _v3(file: h5py.File) -> None:
    file["layers/dense/vars/0"], file["layers/dense/vars/1"] = WEIGHTS, WEIGHTS[0]
    file["layers/dense/vars"].attrs["name"] = "head"
    file["layers/embedding/vars/0"] = WEIGHTS.astype("<f2")
    file["optimizer/vars/0"] = np.int64(7)


def _legacy(file: h5py.File) -> None:
    file["model_weights/dense/dense/kernel:0"], file["model_weights/dense/dense/bias:0"] = WEIGHTS, WEIGHTS[0]
    file["model_weights"].attrs["layer_names"] = [b"dense"]
    file["model_weights"].attrs["backend"] = "tensorflow"
    file["model_weights/dense"].attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
    layer = {"class_name": "Dense", "config": {"name": "dense", "units": 6, "kernel_constraint": None}}
    file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}})


def _stored(file: h5py.File) -> None:
    """Chunked data behind all filters we read, full and with a partial last chunk."""
    for name, options in {
        "plain": {},
        "gzip": {"compression": "gzip"},
        "shuffled": {"compression": "gzip", "shuffle": True, "fletcher32": True},
        "lzf": {"compression": "lzf"},
        "sum": {"fletcher32": True},
    }.items():
        file.create_dataset(f"{name}/kernel", data=WEIGHTS, chunks=(2, 4), **options)
    file.create_dataset("growing/kernel", data=WEIGHTS, chunks=(2, 6), maxshape=(None, 6))
    file.create_dataset("boundless/kernel", data=WEIGHTS, chunks=(2, 3), maxshape=(None, None))
    file.create_dataset("one/kernel", data=WEIGHTS, chunks=(4, 6))


def _compact(file: h5py.File) -> None:
    for number, dtype in enumerate(("<f4", ">f8", "<f2")):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        kind, space = h5py.h5t.py_create(np.dtype(dtype)), h5py.h5s.create_simple(WEIGHTS.shape)
        dataset = h5py.Dataset(h5py.h5d.create(file.id, f"kernel{number}".encode(), kind, space, dcpl=plist))
        dataset[...] = WEIGHTS


def _links(file: h5py.File) -> None:
    file["a/kernel"] = WEIGHTS
    file["b/kernel"] = file["a/kernel"]
    file["a/up"] = file["/"]
    file["soft"] = h5py.SoftLink("/a/kernel")
    file["dangling"] = h5py.SoftLink("/nowhere")
    file.create_group("empty", track_order=True)


def _outer(file: h5py.File) -> None:
    file["kernel"] = WEIGHTS
    file["out"] = h5py.ExternalLink("other.h5", "/x")


def _types(file: h5py.File) -> None:
    file["text"] = "abc"
    file["texts"] = np.array(["a", "bb"], dtype=h5py.string_dtype())
    file["compound"] = np.zeros(3, dtype=[("r", "f4"), ("x", "i4")])
    file.create_dataset("enum", data=[0, 1], dtype=h5py.enum_dtype({"A": 0, "B": 1}, "i1"))
    file["complex"] = np.zeros(3, "c8")
    file["void"] = np.zeros((2, 3), "V2")
    file["void"].attrs["dtype"] = "bfloat16"
    file["scalar"], file["empty"], file["bool"] = np.float32(3), h5py.Empty("f4"), np.array([True, False])
    file["scalar"].attrs["numbers"] = np.arange(5)
    file["reference"] = file["scalar"].ref
    file.create_dataset("unwritten", (4, 4), "f4")


def _crowd(file: h5py.File) -> None:
    """Enough members for indexes of more than one node, and a large attribute."""
    for number in range(40):
        file.create_group(f"layers/dense_{number}")
    for number in range(12):
        file[f"x/vars/{number}"] = np.float32(number)
    file["x"].attrs["weight_names"] = [f"weight number {number} of the layer".encode() for number in range(60)]


_KINDS: dict[str, Fill] = {
    "v3": _v3, "legacy": _legacy, "stored": _stored, "compact": _compact, "links": _links, "outer": _outer,
    "types": _types, "crowd": _crowd,
}  # fmt: skip


def config_seeds() -> dict[str, bytes]:
    """The configs of the samples, of both layouts."""
    found: dict[str, bytes] = {}
    for path in sorted(SAMPLES.iterdir()):
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                found[path.name] = archive.read("config.json")
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                text = file.attrs.get("model_config")
            if text is not None:
                found[path.name] = text.encode() if isinstance(text, str) else bytes(text)
    return found


def zip_seeds() -> dict[str, bytes]:
    """Archives as Keras writes them, deflated, streamed, with 64-bit records, comments and odd members."""
    found = {path.name: path.read_bytes() for path in SAMPLES.glob("*.keras") if path.stat().st_size < 24_000}
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", '{"class_name": "Sequential", "config": {"layers": []}}')
            archive.writestr("model.weights.h5", bytes(range(256)) * 3)
            archive.comment = b"a comment"
        found[name] = buffer.getvalue()
        found[f"prefixed {name}"] = b"#!/bin/sh\n" + found[name]
    buffer = io.BytesIO()
    with zipfile.ZipFile(_Pipe(buffer), "w") as archive:  # type: ignore[arg-type]
        for name in ("config.json", "model.weights.h5"):
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(b"{}" * 100)
    found["streamed"] = buffer.getvalue()
    return found


class _Pipe:
    """A target that cannot be sought in: zipfile writes data descriptors to it."""

    def __init__(self, target: io.BytesIO) -> None:
        self.write, self.flush = target.write, target.flush


def map_seeds() -> dict[str, bytes]:
    sample = json.loads((SAMPLES / "dense.weights.json").read_text())
    one = {"metadata": {"total_size": 1}, "weight_map": {"/layers/dense/vars": "m_00000.weights.h5"}}
    two = {"weight_map": {"/a/vars": ["m_00000.weights.h5", "m_00001.weights.h5"], "/b/vars": "m_00001.weights.h5"}}
    return {
        "sample": json.dumps(sample).encode(),
        "indented": json.dumps(sample, indent=4).encode(),
        "one": json.dumps(one).encode(),
        "two": json.dumps(two, ensure_ascii=False).encode(),
    }


def main() -> None:
    """Make the archive of seeds anew: `python -m fuzz.seeds` in tests/."""
    with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in made_seeds().items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
