"""Files that fuzzing found: HDF5 1.14 dies or spins on them. Each is a seed of tests/fuzz with a few bytes changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzz.seeds import hdf5_seeds

from hostile.frame import Case


def _edited(seed: str, edits: dict[int, int]) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        data = bytearray(hdf5_seeds()[seed])
        for offset, value in edits.items():
            data[offset] = value
        (inside / "model.h5").write_bytes(data)
        return inside / "model.h5"

    return make


def _spins(label: str, seed: str, edits: dict[int, int]) -> Case:
    attack = "an object of 0 bytes in the heap of texts: HDF5 looks for the next one for ever"
    return Case(f"h5-fuzz-{label}", attack, _edited(seed, edits), "error", "model.h5", commands=("inspect",))


def _dies(number: int, seed: str, edits: dict[int, int]) -> Case:
    attack = "damaged links, names or attributes on which the HDF5 library crashes"
    return Case(f"h5-fuzz-crash-{number}", attack, _edited(seed, edits), "error", "model.h5")


_ZEROS = dict.fromkeys(range(41400, 41416), 0)

CASES = (
    _spins("heap-legacy", "legacy v110", {1485: 0, 1493: 0}),
    _spins("heap-crowd", "crowd earliest", _ZEROS),
    _spins(
        "heap-sample", "bfloat16.weights.h5", {**dict.fromkeys(range(2256, 2280), 0), 2256: 240, 2257: 42, 2264: 16}
    ),
    _dies(67, "types v110", {8470: 254, 8471: 255, 8473: 0, 8474: 0, 8475: 0, 8476: 0, 8477: 0}),
    _dies(185, "crowd latest", {10038: 177, 10039: 20}),
    _dies(258, "crowd v110", {17699: 139, 17700: 19}),
    _dies(606, "types latest", {5450: 61, 5451: 21, 6880: 11, 6881: 19, 7371: 255, 7373: 0, 7374: 0}),
    _dies(617, "crowd latest", {18155: 2, 18156: 0, 18157: 8, 18158: 0}),
    _dies(654, "crowd v110", {18149: 96}),
    _dies(870, "crowd v110", {2206: 0, 4756: 91, 4757: 10}),
    _dies(1121, "crowd latest", {2186: 252}),
    _dies(1146, "types latest", {7330: 127}),
)
