"""Whether boxes fill an array: every element is in exactly one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

Axes = tuple[int, ...]


def fill(shape: Axes, boxes: Sequence[tuple[Axes, Axes]], spend: Callable[[int], None] = lambda corners: None) -> bool:
    """Whether boxes inside an array of this shape, each given by start and shape, fill it without overlap.

    The corners of boxes, with signs that alternate along each axis, determine the sum of the boxes (they are its mixed
    difference). So the boxes fill the array if and only if their corners add up to those of the array. Axes that no
    box cuts are omitted, because every further axis doubles the number of corners, which `spend` is told before.
    """
    if sum(math.prod(lengths) for _, lengths in boxes) != math.prod(shape):  # cheap, and finds most faults
        return False
    cut = [axis for axis, size in enumerate(shape) if any(lengths[axis] != size for _, lengths in boxes)]
    spend(len(boxes) << len(cut))
    corners: dict[Axes, int] = {}
    whole = ((0,) * len(shape), shape, -1)
    for start, lengths, sign in [whole, *((start, lengths, 1) for start, lengths in boxes)]:
        for upper in product((0, 1), repeat=len(cut)):
            corner = tuple(start[axis] + up * lengths[axis] for axis, up in zip(cut, upper, strict=True))
            corners[corner] = corners.get(corner, 0) + (-sign if sum(upper) % 2 else sign)
    return not any(corners.values())
