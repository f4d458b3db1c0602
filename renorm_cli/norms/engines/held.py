"""The blocks of one variable that stay where the engine computes, from their sums to their products."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy.typing as npt

from renorm_cli.model.blocks import Block
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.norms.engines.base import Engine, Given


class Held:
    """As many of the first of `blocks` as the engine has room for.

    Nothing is held any more after the `with`, also where it ends by an exception.
    """

    def __init__(self, engine: Engine, blocks: Sequence[Block], dtype: str) -> None:
        ends = accumulate(block.elements * FLOATS[dtype].nbytes for block in blocks)
        self._engine = engine
        self._wanted = frozenset(block for block, end in zip(blocks, ends, strict=True) if end <= engine.room)
        self._held: dict[Block, Given] = {}

    def take(self, block: Block, values: npt.NDArray[Any]) -> Given:
        """The values of a block as the engine takes them, held from now on if there is room."""
        given = self._engine.hold(values) if block in self._wanted else values
        if given is not values:
            self._held[block] = given
        return given

    def get(self, block: Block) -> Given | None:
        """What is held of a block, if anything."""
        return self._held.get(block)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *failure: object) -> None:
        self._wanted = frozenset()
        self._held.clear()
