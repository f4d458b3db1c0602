"""Memory that is used again for block after block: to get it anew each time costs about as much as a pass over it."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

Buffer = npt.NDArray[np.uint8]


class _Held(threading.local):
    def __init__(self) -> None:
        self.by_purpose: dict[str, Buffer] = {}


_HELD = _Held()


def reuse(purpose: str, nbytes: int) -> Buffer:
    """`nbytes` of this thread's memory for a purpose; what was in it for that purpose before is gone."""
    held = _HELD.by_purpose.get(purpose)
    if held is None or held.size < nbytes:
        held = _HELD.by_purpose[purpose] = np.empty(nbytes, dtype=np.uint8)
    return held[:nbytes]
