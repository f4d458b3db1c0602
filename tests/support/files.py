"""`apply` and `inspect` of files through the library, and the oracle's word on what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from renorm_cli.api.verbs import apply, inspect
from renorm_cli.model.report import Report
from support import oracle
from support.places import SAMPLES
from support.tensors import ROUNDOFF

MANIFEST = json.loads((SAMPLES / "manifest.json").read_text())
WHOLE = [entry for entry in MANIFEST["files"] if "part_of" not in entry]


def bound(path: Path, output: Path | None, *include: str, limit: float = 1.0, **destination: Any) -> Report:
    return apply(path, output, max_norm=limit, include=include, engine="numpy", **destination)


def look(path: Path, limit: float | None = None, *include: str) -> Report:
    return inspect(path, max_norm=limit, include=include, engine="numpy")


def agrees(before: np.ndarray, after: np.ndarray, unit_axes: tuple[int, ...], limit: float) -> None:
    """What the oracle says of a bounded array: within the limit, near the exact, the rest untouched."""
    over = oracle.over(before, unit_axes, limit)
    assert (oracle.unit_norms(after, unit_axes) <= limit * (1 + 1e-12 * (after.dtype.itemsize == 8))).all()
    exact = oracle.renorm(before, unit_axes, limit)
    name = after.dtype.newbyteorder("=").name
    error = np.abs(after.astype(np.float64) - exact)
    assert (
        error
        <= (4 if name == "float32" else 2) * ROUNDOFF[name] * np.abs(exact) * (1 + 1e-9) + 1e-7 * (name == "float16")
    ).all()
    others = tuple(axis for axis in range(before.ndim) if axis not in unit_axes)
    untouched = ~np.broadcast_to(np.expand_dims(over, others), before.shape)
    assert before[untouched].tobytes() == after[untouched].tobytes()
