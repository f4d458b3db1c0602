"""What to say of spectral norms before they are measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from renorm_cli.errors import Way, some_names
from renorm_cli.model.norm import SpectralNorm
from renorm_cli.model.plan import Note, Step


def matrix_notes(steps: Sequence[Step]) -> list[Note]:
    """How the norm of a layer can differ from that of its matrix; a warning where that cannot be told."""
    spectral = [step for step in steps if isinstance(step.constraint.norm, SpectralNorm)]
    if not any(isinstance(norm := step.constraint.norm, SpectralNorm) and norm.operator for step in spectral):
        sizes = {tuple(step.variable.shape[axis] for axis in step.spatial) for step in spectral if step.spatial}
        if not sizes:
            return []
        largest = max(sizes, key=math.prod)
        kernel, factor = "x".join(map(str, largest)), math.sqrt(math.prod(largest))
        text = f"the Lipschitz constant of a convolution of {kernel} is up to {factor:.3g} times the norm of its matrix"
        return [Note(text, ways=(Way("conv", "bound it", "operator"),))]
    unknown = [step.variable.name for step in spectral if step.may_convolve]
    if not unknown:
        return []
    text = "it is not known whether it is a convolution: its norm is that of a matrix"
    return [Note(f"{some_names(unknown)}: {text}", warning=True)]
