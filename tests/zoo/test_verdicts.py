"""A verdict of `check` is true of all true units of the file, or there is none: judged by a plain loop in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from hostile import tf_build
from support import effort
from support.cli import renorm_here

ENDINGS = ("kernel", "weights", "w", "W", "weight", "matrix", "embeddings")
TABLES = ("embeddings", "embedding", "table", "lookup")


class Layer(NamedTuple):
    """A layer by its values: the axes of its matrix that name units, and its bias, if it has one."""

    matrix: np.ndarray
    units: tuple[int, ...]
    bias: np.ndarray | None
    table: bool = False

    @property
    def norms(self) -> np.ndarray:
        others = tuple(axis for axis in range(self.matrix.ndim) if axis not in self.units)
        return np.sqrt((self.matrix.astype(np.float64) ** 2).sum(axis=others)).ravel()


def layer(rng: np.random.Generator) -> Layer:
    """A layer of a random kind and random sizes, whose units have norms of their own."""
    k, a, b, m, heads = (int(rng.integers(low, high)) for low, high in ((1, 4), (2, 7), (2, 7), (1, 3), (1, 4)))
    shape, units, bias = [
        ((a, b), (1,), (b,)),
        ((k, k, a, b), (3,), (b,)),
        ((k, k, b, a), (2,), (b,)),
        ((k, a, b), (2,), (b,)),
        ((k, b, a), (1,), (b,)),
        ((k, k, a, m), (2, 3), (a * m,)),
        ((a, heads, b), (1, 2), (heads, b)),
        ((heads, a, b), (0, 2), (heads, b)),
        ((heads, a, b), (2,), (b,)),
        ((a, b), (0,), None),
    ][kind := int(rng.integers(10))]
    matrix = rng.normal(size=shape) * rng.uniform(0.1, 3, size=[n if i in units else 1 for i, n in enumerate(shape)])
    held = None if bias is None or rng.random() < 0.4 else rng.normal(size=bias).astype(np.float32)
    return Layer(matrix.astype(np.float32), units, held, table=kind == 9)


def arrays(rng: np.random.Generator, layers: list[Layer], *, numbered: bool) -> Iterator[tuple[str, np.ndarray]]:
    for number, one in enumerate(layers):
        ending = str(rng.choice(TABLES if one.table else ENDINGS[:-1]))
        base = f"{'net/' if rng.random() < 0.5 else ''}x{number}"
        yield f"{base}/vars/0" if numbered else f"{base}/{ending}", one.matrix
        if one.bias is not None:
            yield f"{base}/vars/1" if numbered else f"{base}/{'biases' if ending == 'weights' else 'bias'}", one.bias


def written(folder: Path, rng: np.random.Generator, layers: list[Layer]) -> Path:
    if rng.random() < 0.5:
        return tf_build.draft(dict(arrays(rng, layers, numbered=False))).write(folder / "m")
    numbered = bool(rng.random() < 0.7)
    with h5py.File(folder / "m.weights.h5", "w") as file:
        for name, values in arrays(rng, layers, numbered=numbered):
            file[name] = values
    return folder / "m.weights.h5"


@pytest.mark.parametrize("seed", range(effort.examples(400)))
def test_a_verdict_is_true_of_every_unit_or_there_is_none(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(seed)
    layers = [layer(rng) for _ in range(int(rng.integers(1, 5)))]
    norms = np.sort(np.concatenate([one.norms for one in layers]))
    limit = float(norms[-1] * 1.01 if rng.random() < 0.5 else rng.choice(norms) * rng.uniform(0.99, 1.01))
    done = renorm_here(capfd, "check", str(written(tmp_path, rng, layers)), "--max-norm", repr(limit))
    if done.returncode != 2:
        told = [(one.matrix.shape, one.units, None if one.bias is None else one.bias.shape) for one in layers]
        assert done.returncode == int(norms[-1] > limit), (told, done.stdout, done.stderr)
