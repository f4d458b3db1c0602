"""What the layer of a weight tells of it: by the class, by the equation of an EinsumDense, by the weight's own name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from renorm_cli.conventions.keras.layers import ROLES, TELLING, Axes, Weight, find_weight, suffixes
from renorm_cli.model.identity import BOUNDED, Claim
from renorm_cli.model.variable import Hint


def claims(hint: Hint, shape: tuple[int, ...]) -> Iterator[Claim]:
    """What the layer's class tells of a weight, and what its own name tells where the class does not.

    The source is "layer" if the class is known from the file's config, "name" if from a default layer name.
    """
    if hint.weight is None:
        return
    known = find_weight(hint.layer, hint.weight) if hint.layer is not None else None
    known = known if known is not None and known.fits(shape) else None
    axes, shared = _by_layer(hint, known, len(shape))
    if known is not None or axes is not None:
        told = f"the layer {hint.layer or hint.equation}"
        yield Claim(hint.source, None if known is None else known.role, axes, told, shared)
    role = next((ROLES[end] for end in suffixes(hint.weight) if end in ROLES), None) if known is None else None
    tells = axes is None and hint.layer != "EinsumDense"
    own, shared = _by_own_name(hint.weight, len(shape)) if tells else _NO_AXES
    if role is not None or own is not None:
        yield Claim("name", role, own, f"the name {hint.weight!r}", shared)


_NO_AXES: tuple[Axes | None, Axes] = None, ()


def _by_layer(hint: Hint, known: Weight | None, rank: int) -> tuple[Axes | None, Axes]:
    """The unit axes, and those of them that name inputs too."""
    if hint.equation is not None:
        found = einsum_units(hint.equation, rank) if (hint.weight or "").endswith("kernel") else None
        return _NO_AXES if found is None else (found, einsum_shared(hint.equation))
    return _NO_AXES if known is None else _of_weight(known, rank)


def _of_weight(weight: Weight, rank: int) -> tuple[Axes | None, Axes]:
    if rank < 2 or weight.role not in BOUNDED:
        return _NO_AXES
    return weight.unit_axes(rank), weight.shared_axes(rank)


def _by_own_name(weight: str, rank: int) -> tuple[Axes | None, Axes]:
    """What a weight's own name tells; a matrix called "kernel" is (in, out), as all of Keras' but EinsumDense's are."""
    for end in suffixes(weight):
        if end in TELLING:
            return _of_weight(TELLING[end], rank)
        if end == "kernel" and rank == 2:
            return (1,), ()
    return _NO_AXES


_CONVOLUTION = re.compile(r"(?:Depthwise|Separable)?Conv(?:LSTM)?([123])D(?:Transpose)?")


def convolves(layer: str | None, rank: int) -> bool:
    """Whether kernels of this rank in a layer of this class are moved over an input."""
    found = _CONVOLUTION.fullmatch(layer or "")
    return found is not None and rank == int(found[1]) + 2


_EINSUM = re.compile(r"(?:\.\.\.)?([A-Za-z]*)(?:\.\.\.)?,([A-Za-z]+)->([A-Za-z.]*)")


def einsum_shared(equation: str) -> Axes:
    """The kernel axes whose letters are in the input and in the output: "bhd,hde->bhe" -> (0,)."""
    found = _EINSUM.fullmatch(equation.replace(" ", ""))
    if found is None:
        return ()
    return tuple(axis for axis, letter in enumerate(found[2]) if letter in found[1] and letter in found[3])


def einsum_units(equation: str, rank: int) -> Axes | None:
    """The kernel axes whose letters reach the output: "abc,cde->abde" -> (1, 2); None for no such equation or rank."""
    found = _EINSUM.fullmatch(equation.replace(" ", ""))
    if found is None or len(found[2]) != rank:
        return None
    return tuple(axis for axis, letter in enumerate(found[2]) if letter in found[3])
