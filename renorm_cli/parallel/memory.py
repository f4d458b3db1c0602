"""Memory reused from block to block, because allocating it again costs about as much as a pass over it."""

from __future__ import annotations

import threading
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

Buffer = npt.NDArray[np.uint8]

ALIGNMENT = 64
"""Bytes: a cache line. Large new memory starts 16 bytes after a page boundary, and some CPUs (Zen 3) copy into such
memory five times slower."""


class Purpose(Enum):
    """What memory is used for; two uses of one purpose on one thread share the memory, one after the other."""

    SOURCE = auto()
    """A block read from the checkpoint."""
    SINK = auto()
    """A block read back from the output."""
    CHECKSUM = auto()
    TILE = auto()
    """float64 values of a part of a block."""
    SCALED = auto()
    TENSOR = auto()
    """A block that TensorFlow reads in place."""
    WIDENED = auto()
    """Weights of 16 bits as float32."""
    SIZES = auto()
    """Weights of 16 bits without their signs."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.by_purpose: dict[Purpose, Buffer] = {}


_HELD = _Held()


def reuse(purpose: Purpose, nbytes: int) -> Buffer:
    """`nbytes` of this thread's memory for a purpose; its earlier content for that purpose is lost."""
    held = _HELD.by_purpose.get(purpose)
    if held is None or held.size < nbytes:
        held = _HELD.by_purpose[purpose] = _aligned(nbytes)
    return held[:nbytes]


def _aligned(nbytes: int) -> Buffer:
    """New memory that starts at a multiple of `ALIGNMENT`."""
    room = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + nbytes]
