"""The programs a user would write, or run, instead."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from bench.files import LIMIT, parts
from bench.measure import Program

IMPORTS = Program((sys.executable, "-c", "import h5py, numpy, typer, rich"))
"""The least that a program with our dependencies takes to start."""

_COPY = """for part do
    copy=$to/${part##*/}
    cp "$part" "$copy" && sync "$copy" || exit 1
done
"""

_NORMS = """
import sys
import h5py, numpy as np

def show(name, item):
    if isinstance(item, h5py.Dataset) and item.ndim > 1:
        norms = np.linalg.norm(item[()].reshape(-1, item.shape[-1]), axis=0)
        print(name, norms.size, norms.min(), np.median(norms), norms.mean(), norms.max())

with h5py.File(sys.argv[1]) as file:
    file.visititems(show)
"""

_ROOTS = _NORMS.replace(
    "np.linalg.norm(item[()].reshape(-1, item.shape[-1]), axis=0)",
    "np.sqrt(np.square(item[()].reshape(-1, item.shape[-1])).sum(axis=0))",
)

_CLIP = """
import os, shutil, sys
import h5py
{imports}
source, output, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
shutil.copyfile(source, output)

def clip(name, item):
    if isinstance(item, h5py.Dataset) and item.ndim > 1:
        item[...] = {clipped}

with h5py.File(output, "r+") as file:
    file.visititems(clip)
with open(output, "rb") as file:
    os.fsync(file.fileno())
"""

TORCH = _CLIP.format(
    imports="import torch",
    clipped="torch.renorm(torch.from_numpy(item[()]), 2, item.ndim - 1, limit).numpy()",
)
TENSORFLOW = _CLIP.format(
    imports="import tensorflow as tf",
    clipped="tf.clip_by_norm(item[()], limit, axes=list(range(item.ndim - 1))).numpy()",
)

_TORCH_ON_GPU = _CLIP.format(
    imports="import torch",
    clipped="torch.renorm(torch.from_numpy(item[()]).cuda(), 2, item.ndim - 1, limit).cpu().numpy()",
)

KERAS = """
import os, sys
import keras

source, output, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
model = keras.models.load_model(source, compile=False)
for layer in model.layers:
    if isinstance(layer, keras.layers.Dense):
        layer.kernel.assign(keras.constraints.MaxNorm(limit, axis=0)(layer.kernel))
model.save(output)
with open(output, "rb") as file:
    os.fsync(file.fileno())
"""

_TORCH_TENSORS = """
import os, sys
import torch
from safetensors.torch import load_file, save_file

source, output, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
tensors = load_file(source)
for name, tensor in tensors.items():
    if tensor.ndim > 1:
        tensors[name] = torch.renorm(tensor, 2, 0, limit)
save_file(tensors, output, metadata={"format": "pt"})
with open(output, "rb") as file:
    os.fsync(file.fileno())
"""

_TORCH_NORMS = """
import sys
import torch
from safetensors.torch import load_file

for name, tensor in load_file(sys.argv[1]).items():
    if tensor.ndim > 1:
        norms = torch.linalg.vector_norm(tensor, dim=1, dtype=torch.float32)
        print(name, norms.numel(), norms.min(), norms.median(), norms.mean(), norms.max())
"""

CLIPPERS = {"h5py + torch.renorm": TORCH, "h5py + tf.clip_by_norm": TENSORFLOW, "keras load, MaxNorm, save": KERAS}
_NEEDS = {"h5py + torch.renorm": "torch", "keras load, MaxNorm, save": "keras", "h5py + tf.clip_by_norm": "tensorflow"}


def installed(clipper: str) -> bool:
    return importlib.util.find_spec(_NEEDS[clipper]) is not None


def has_torch_tensors() -> bool:
    """Whether safetensors and torch are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("safetensors", "torch"))


def copy(checkpoint: Path, to: Path) -> Program:
    """`cp` of every file of a checkpoint into the folder `to`, each forced to the disk."""
    files = parts(checkpoint)
    argv = ("sh", "-c", f"to=$1; shift\n{_COPY}", "sh", str(to), *map(str, files))
    return Program(argv, tuple(to / file.name for file in files))


def norms(checkpoint: Path) -> Program:
    return Program((sys.executable, "-c", _NORMS, str(checkpoint)))


def roots(checkpoint: Path) -> Program:
    """The same by hand: roots of sums of squares, in the dtype of the file."""
    return Program((sys.executable, "-c", _ROOTS, str(checkpoint)))


def clip(clipper: str, checkpoint: Path, output: Path) -> Program:
    return _clip(CLIPPERS[clipper], checkpoint, output)


def clip_tensors(checkpoint: Path, output: Path) -> Program:
    """safetensors and torch.renorm: load, clip, save."""
    return _clip(_TORCH_TENSORS, checkpoint, output)


def norms_of_tensors(checkpoint: Path) -> Program:
    """safetensors and torch: load, and the norm of each row in float32."""
    return Program((sys.executable, "-c", _TORCH_NORMS, str(checkpoint)))


def clip_on_gpu(checkpoint: Path, output: Path) -> Program:
    """h5py and torch.renorm, each tensor sent to the GPU and back."""
    return _clip(_TORCH_ON_GPU, checkpoint, output)


def _clip(code: str, checkpoint: Path, output: Path) -> Program:
    return Program((sys.executable, "-c", code, str(checkpoint), str(output), str(LIMIT)), (output,))
