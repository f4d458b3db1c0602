"""Names of HDF5 datatypes: a NumPy dtype's name only if NumPy reads the stored bits as that dtype."""

from __future__ import annotations

from typing import Any

from renorm_cli.model.dtypes import DTYPES, SAVED_BITS

_NAMES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
LOST = {f"floating, saved as V{size}": size for size in SAVED_BITS}
"""Bytes per element where the file does not tell the dtype: h5py writes NumPy's bfloat16 and float8 as mere bits."""
SIZES: dict[str, int] = {name: DTYPES[name].nbytes for name in _NAMES.split()} | LOST
"""Bytes per element of the dtypes of fixed size."""

OTHERS = frozenset(
    ("empty", "opaque", "string", "object", "reference", "compound", "enum", "array", "bitfield", "other")
).union(("float(other)", "int(other)"))
"""Names of all other datatypes; nothing computes with them."""


class Types:
    """`describe` names a type; the h5py module is passed in, because only the worker imports it."""

    def __init__(self, h5: Any) -> None:
        self.h5t = h5t = h5.h5t
        self.floats = {
            2: ((h5t.IEEE_F16LE, "<"), (h5t.IEEE_F16BE, ">")),
            4: ((h5t.IEEE_F32LE, "<"), (h5t.IEEE_F32BE, ">")),
            8: ((h5t.IEEE_F64LE, "<"), (h5t.IEEE_F64BE, ">")),
        }

    def describe(self, kind: Any) -> tuple[str, str, bool]:
        """Name, byte order ("<" or ">"), and whether the stored bytes are the values (not references to them)."""
        h5t = self.h5t
        if isinstance(kind, h5t.TypeFloatID):
            return (*self._float(kind), True)
        if isinstance(kind, h5t.TypeIntegerID):
            return (*self._integer(kind), True)
        if isinstance(kind, h5t.TypeStringID):
            return "string", "<", not kind.is_variable_str()
        if isinstance(kind, h5t.TypeReferenceID):
            return "reference", "<", False
        if isinstance(kind, h5t.TypeVlenID):
            return "object", "<", False
        if isinstance(kind, h5t.TypeOpaqueID):
            lost = f"floating, saved as V{kind.get_size()}"
            return lost if lost in LOST and not kind.get_tag() else "opaque", "<", True
        if isinstance(kind, h5t.TypeEnumID):
            return ("bool" if self._is_bool(kind) else "enum"), "<", True
        plain = not kind.detect_class(h5t.VLEN) and not kind.detect_class(h5t.REFERENCE)
        if isinstance(kind, h5t.TypeCompoundID):
            return (*self._compound(kind), plain)
        if isinstance(kind, h5t.TypeArrayID):
            return "array", "<", plain
        return ("bitfield" if isinstance(kind, h5t.TypeBitfieldID) else "other"), "<", plain

    def _float(self, kind: Any) -> tuple[str, str]:
        size = kind.get_size()
        for ieee, order in self.floats.get(size, ()):
            # `equal` compares every field of the format: 4 bytes with an 11-bit exponent are no float32.
            if kind.equal(ieee):
                return f"float{8 * size}", order
        return "float(other)", "<"

    def _integer(self, kind: Any) -> tuple[str, str]:
        size, order = kind.get_size(), kind.get_order()
        if size not in (1, 2, 4, 8) or kind.get_precision() != 8 * size:
            return "int(other)", "<"
        if order not in (self.h5t.ORDER_LE, self.h5t.ORDER_BE):
            return "int(other)", "<"
        sign = "" if kind.get_sign() == self.h5t.SGN_2 else "u"
        return f"{sign}int{8 * size}", "<" if size == 1 or order == self.h5t.ORDER_LE else ">"

    def _is_bool(self, kind: Any) -> bool:
        """h5py stores bool as an enumeration of one byte, FALSE = 0 and TRUE = 1."""
        if kind.get_size() != 1 or kind.get_nmembers() != 2:
            return False
        return {kind.get_member_name(i): kind.get_member_value(i) for i in (0, 1)} == {b"FALSE": 0, b"TRUE": 1}

    def _compound(self, kind: Any) -> tuple[str, str]:
        """h5py stores complex numbers as a compound of two floats, r and i."""
        size = kind.get_size()
        if size not in (8, 16) or kind.get_nmembers() != 2:
            return "compound", "<"
        if [(kind.get_member_name(i), kind.get_member_offset(i)) for i in (0, 1)] != [(b"r", 0), (b"i", size // 2)]:
            return "compound", "<"
        parts = [kind.get_member_type(i) for i in (0, 1)]
        for ieee, order in self.floats[size // 2]:
            if all(part.equal(ieee) for part in parts):
                return f"complex{8 * size}", order
        return "compound", "<"
