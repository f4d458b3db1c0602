"""Quantized numbers: the types of blocks in which they lie, and their values, by the package gguf.

Sizes: `ggml/src/ggml-common.h`. Of Q8_1, gguf 0.19 says 40 bytes, as it was in 2023 (two float32 and 32 int8); ggml has
two float16. It is a type of activations in memory, and its numbers are not read.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from renorm_cli.errors import FormatError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Blocks(NamedTuple):
    """A type whose numbers lie in blocks: its name, and the numbers and bytes of a block.

    `known` is whether gguf has a way from a block to its numbers.
    """

    name: str
    numbers: int
    nbytes: int
    known: bool = True


BLOCKS = {
    2: Blocks("Q4_0", 32, 18), 3: Blocks("Q4_1", 32, 20), 6: Blocks("Q5_0", 32, 22), 7: Blocks("Q5_1", 32, 24),
    8: Blocks("Q8_0", 32, 34), 9: Blocks("Q8_1", 32, 36, known=False), 10: Blocks("Q2_K", 256, 84),
    11: Blocks("Q3_K", 256, 110), 12: Blocks("Q4_K", 256, 144), 13: Blocks("Q5_K", 256, 176),
    14: Blocks("Q6_K", 256, 210), 15: Blocks("Q8_K", 256, 292, known=False), 16: Blocks("IQ2_XXS", 256, 66),
    17: Blocks("IQ2_XS", 256, 74), 18: Blocks("IQ3_XXS", 256, 98), 19: Blocks("IQ1_S", 256, 50),
    20: Blocks("IQ4_NL", 32, 18), 21: Blocks("IQ3_S", 256, 110), 22: Blocks("IQ2_S", 256, 82),
    23: Blocks("IQ4_XS", 256, 136), 29: Blocks("IQ1_M", 256, 56), 34: Blocks("TQ1_0", 256, 54),
    35: Blocks("TQ2_0", 256, 66), 39: Blocks("MXFP4", 32, 17), 40: Blocks("NVFP4", 64, 36),
    41: Blocks("Q1_0", 128, 18, known=False),
}  # fmt: skip
"""By the number of the type in a file."""


def can_dequantize() -> bool:
    """Whether the package gguf is installed; it is not imported."""
    return find_spec("gguf") is not None


def dequantized(stored: bytes, blocks: Blocks) -> npt.NDArray[np.float32]:
    """The numbers of whole blocks, one by one. Raises FormatError where the installed gguf cannot tell them."""
    import numpy as np

    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        with np.errstate(all="ignore"):  # scales may be NaN or Inf
            found = dequantize(np.frombuffer(stored, np.uint8).reshape(1, -1), GGMLQuantizationType[blocks.name])
    except (ImportError, KeyError, NotImplementedError):
        raise FormatError(
            f"the installed package gguf does not dequantize {blocks.name}; pip install -U 'renorm-ckpt[gguf]'"
        ) from None
    numbers: npt.NDArray[np.float32] = found.reshape(-1)
    return numbers
