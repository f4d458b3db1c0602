"""The norms of all units of a run, of which a report has a summary."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np

from renorm_cli.errors import OutputError
from renorm_cli.model.blocks import grid_shape
from renorm_cli.model.plan import Step
from renorm_cli.norms.error_free import Float64
from renorm_cli.storage.bytes import write_all
from renorm_cli.storage.files import reason

IN_MEMORY = 1 << 22
"""Up to this many norms (32 MiB) are kept in memory, more in a temporary file."""

_PART = 1 << 17
"""Norms that are read back at once."""


class UnitNorms:
    """Takes the norms of all units of some variables, in any order and from any thread, and gives them back.

    A norm takes 8 bytes: in memory, or in a temporary file without a name where there are more than `IN_MEMORY`.
    """

    def __init__(self, units: Mapping[str, int]) -> None:
        """`units` has the number of units of each variable by its key. Raises OutputError where there is no room."""
        self._units = dict(units)
        *starts, self._total = accumulate(units.values(), initial=0)
        self._starts = dict(zip(units, starts, strict=True))
        self._kept: Float64 | None = None
        if self._total <= IN_MEMORY:
            self._kept = np.zeros(self._total)
        else:
            self._fd = self._file()
            weakref.finalize(self, os.close, self._fd)

    @classmethod
    def of(cls, steps: Sequence[Step]) -> UnitNorms:
        """Room for the norms of these steps. Raises OutputError where there is none."""
        return cls({step.variable.key: math.prod(_grid(step)) for step in steps})

    def take(self, step: Step, first: int, norms: Float64) -> None:
        """Take in the norms of the units from number `first` of the unit grid on. Raises OutputError."""
        self._put(self._starts[step.variable.key] + first, norms)

    def grid(self, step: Step) -> Float64:
        """The norms of one variable as its unit grid."""
        norms = np.empty(self._units[step.variable.key])
        at = 0
        for part in self.parts(step):
            norms[at : at + part.size] = part
            at += part.size
        return norms.reshape(_grid(step))

    def parts(self, step: Step) -> Iterator[Float64]:
        """The same norms, flat and in parts of at most 1 MiB."""
        start, count = self._starts[step.variable.key], self._units[step.variable.key]
        return (self._read(at, start + count) for at in range(start, start + count, _PART))

    def _put(self, start: int, norms: Float64) -> None:
        if self._kept is not None:
            self._kept[start : start + norms.size] = norms.ravel()
            return
        try:
            write_all(self._fd, 8 * start, np.ascontiguousarray(norms).ravel().view(np.uint8).data)
        except OSError as error:
            raise self._no_room(error) from None

    def _read(self, start: int, end: int) -> Float64:
        end = min(start + _PART, end)
        if self._kept is not None:
            return self._kept[start:end]
        return np.frombuffer(os.pread(self._fd, 8 * (end - start), 8 * start), dtype=np.float64)

    def _file(self) -> int:
        from tempfile import TemporaryFile  # here, as few files have so many units

        try:
            with TemporaryFile(buffering=0) as file:
                return os.dup(file.fileno())
        except OSError as error:
            raise self._no_room(error) from None

    def _no_room(self, error: OSError) -> OutputError:
        return OutputError(
            f"the norms of {self._total} units take {8 * self._total} bytes in a temporary file, which cannot be"
            f" written: {reason(error)}; make room, or set TMPDIR to a folder that has it"
        )

    def __reduce__(self) -> tuple[object, ...]:
        parts = [self._read(at, self._total) for at in range(0, self._total, _PART)]
        return _restored, (self._units, parts)


def _restored(units: Mapping[str, int], parts: Sequence[Float64]) -> UnitNorms:
    """The copy that another process unpickles."""
    norms = UnitNorms(units)
    for number, part in enumerate(parts):
        norms._put(number * _PART, part)
    return norms


def _grid(step: Step) -> tuple[int, ...]:
    return grid_shape(step.variable.shape, step.unit_axes)
