"""The dtypes of stored numbers: one table of what is true of them in every format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dtype:
    """A dtype by its plain name, whatever the byte order.

    `nbytes` are the bytes of an element, `code` is NumPy's code without the byte order. Where NumPy has no such dtype,
    the code is that of the bits as an unsigned integer.
    """

    name: str
    nbytes: int
    code: str


@dataclass(frozen=True, slots=True)
class FloatDtype(Dtype):
    """A binary floating dtype: `fraction_bits` are the stored bits of the significand, without the leading one.

    2.0 ** `least_exponent` is the smallest normal number.
    """

    fraction_bits: int
    least_exponent: int

    @property
    def precision(self) -> int:
        """Significant bits."""
        return self.fraction_bits + 1

    @property
    def roundoff(self) -> float:
        """The largest relative error of rounding to nearest."""
        return 2.0**-self.precision

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.least_exponent


FLOATS: dict[str, FloatDtype] = {
    dtype.name: dtype
    for dtype in (
        FloatDtype("float16", 2, "f2", 10, -14),
        FloatDtype("bfloat16", 2, "u2", 7, -126),
        FloatDtype("float32", 4, "f4", 23, -126),
        FloatDtype("float64", 8, "f8", 52, -1022),
    )
}
"""The dtypes whose norms are bounded."""

_BITS = {
    1: "qint8 quint8 int4 uint4 int2 uint2 float8_e5m2 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz"
    " float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn",
    2: "qint16 quint16",
    4: "qint32",
}

DTYPES: dict[str, Dtype] = {
    **FLOATS,
    "complex64": Dtype("complex64", 8, "c8"),
    "complex128": Dtype("complex128", 16, "c16"),
    "bool": Dtype("bool", 1, "u1"),
    **{f"int{8 * size}": Dtype(f"int{8 * size}", size, f"i{size}") for size in (1, 2, 4, 8)},
    **{f"uint{8 * size}": Dtype(f"uint{8 * size}", size, f"u{size}") for size in (1, 2, 4, 8)},
    **{name: Dtype(name, size, f"u{size}") for size, names in _BITS.items() for name in names.split()},
}
"""All dtypes whose numbers are read, by name; those of less than 8 bits take a byte for each element."""


SAVED_BITS: dict[int, tuple[str, ...]] = {
    1: tuple(name for name in _BITS[1].split() if name.startswith("float")),
    2: ("bfloat16", "float16"),
}
"""The floating dtypes that may be saved as mere bits of so many bytes."""


def is_floating(dtype: str) -> bool:
    """Whether numbers of the dtype have fractions, also where their norms are not bounded (float8, complex64)."""
    return dtype in FLOATS or dtype.startswith(("float", "complex"))
