"""The fingerprint of a SavedModel: updates its hash of the checkpoint's index after a change.

Source: tensorflow/core/protobuf/fingerprint.proto; tensorflow/core/framework/fingerprinting (HashCheckpointIndexFile).
TensorFlow hashes with Fingerprint64 of FarmHash (farmhashna::Hash64, Geoff Pike), which is guaranteed never to change.
"""

from __future__ import annotations

import struct

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import VARINT, read_fields, write_varint

_CHECKPOINT_HASH = 5
_MAX_BYTES = 1 << 20

_64 = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F

_Pair = tuple[int, int]


def with_checkpoint_hash(fingerprint_pb: bytes, index: bytes, shown: str) -> bytes | None:
    """The content of `fingerprint.pb` with the hash of `index` (the whole `variables.index`) in its `checkpoint_hash`.

    All other bytes are unchanged; a missing hash is inserted. None if the content is not such a message (or is larger
    than 1 MiB): TensorFlow's loaders ignore such a file, so the caller should copy it unchanged.
    """
    if len(fingerprint_pb) > _MAX_BYTES:
        return None
    try:
        fields = list(read_fields(fingerprint_pb, shown))
    except FormatError:
        return None
    hashes = [field for field in fields if field.number == _CHECKPOINT_HASH]
    if any(field.wire_type != VARINT for field in hashes):
        return None
    stored = write_varint(fingerprint64(index))
    if not hashes:
        before = [field.end for field in fields if field.number < _CHECKPOINT_HASH]
        at = max(before, default=0)
        return fingerprint_pb[:at] + write_varint(_CHECKPOINT_HASH << 3 | VARINT) + stored + fingerprint_pb[at:]
    out, at = bytearray(), 0
    for field in hashes:
        out += fingerprint_pb[at : field.start] + stored
        at = field.end
    return bytes(out + fingerprint_pb[at:])


def fingerprint64(data: bytes) -> int:
    """FarmHash's Fingerprint64 of the bytes, 0 <= result < 2**64."""
    length = len(data)
    if length <= 16:
        return _up_to_16(data)
    if length <= 32:
        return _up_to_32(data)
    if length <= 64:
        return _up_to_64(data)
    return _longer(data)


def _up_to_16(data: bytes) -> int:
    length = len(data)
    factor = _K2 + 2 * length
    if length >= 8:
        a = _word(data, 0) + _K2
        b = _word(data, length - 8)
        return _join(_turn(b, 37) * factor + a, (_turn(a, 25) + b) * factor, factor)
    if length >= 4:
        first, last = int.from_bytes(data[:4], "little"), int.from_bytes(data[-4:], "little")
        return _join(length + (first << 3), last, factor)
    if length:
        low = data[0] + (data[length >> 1] << 8)
        high = length + (data[-1] << 2)
        return _fold(low * _K2 ^ high * _K0) * _K2 & _64
    return _K2


def _up_to_32(data: bytes) -> int:
    length = len(data)
    factor = _K2 + 2 * length
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, length - 8) * factor, _word(data, length - 16) * _K2
    return _join(_turn(a + b, 43) + _turn(c, 30) + d, a + _turn(b + _K2, 18) + c, factor)


def _up_to_64(data: bytes) -> int:
    length = len(data)
    factor = _K2 + 2 * length
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, length - 8) * factor, _word(data, length - 16) * _K2
    y = _turn(a + b, 43) + _turn(c, 30) + d
    z = _join(y, a + _turn(b + _K2, 18) + c, factor)
    e, f = _word(data, 16) * factor, _word(data, 24)
    g, h = (y + _word(data, length - 32)) * factor, (z + _word(data, length - 24)) * factor
    return _join(_turn(e + f, 43) + _turn(g, 30) + h, e + _turn(f + a, 18) + g, factor)


def _longer(data: bytes) -> int:
    """Seven words of state, mixed with 64 bytes at a time; the last 64 bytes may overlap those before."""
    seed = 81
    y = (seed * _K1 + 113) & _64
    z = _fold(y * _K2 + 113) * _K2 & _64
    v: _Pair = (0, 0)
    w: _Pair = (0, 0)
    x = (seed * _K2 + _word(data, 0)) & _64
    whole = (len(data) - 1) // 64 * 64
    for at in range(0, whole, 64):
        x, y, z, v, w = _mix(struct.unpack_from("<8Q", data, at), x, y, z, v, w, _K1, 1)
    rest = len(data) - 1 - whole
    factor = (_K1 + ((z & 255) << 1)) & _64
    w0 = w[0] + rest
    v0 = v[0] + w0
    v, w = (v0 & _64, v[1]), ((w0 + v0) & _64, w[1])
    x, y, z, v, w = _mix(struct.unpack_from("<8Q", data, len(data) - 64), x, y, z, v, w, factor, 9)
    low = _join(v[0], w[0], factor) + _fold(y) * _K0 + z
    return _join(low, _join(v[1], w[1], factor) + x, factor)


def _mix(
    words: tuple[int, ...], x: int, y: int, z: int, v: _Pair, w: _Pair, factor: int, weight: int
) -> tuple[int, int, int, _Pair, _Pair]:
    x = _turn(x + y + v[0] + words[1], 37) * factor
    y = _turn(y + v[1] + words[6], 42) * factor
    x = (x ^ w[1] * weight) & _64
    y = (y + v[0] * weight + words[5]) & _64
    z = _turn(z + w[0], 33) * factor & _64
    v = _weak(words[:4], v[1] * factor, x + w[0])
    w = _weak(words[4:], z + w[1], y + words[2])
    return z, y, x, v, w


def _weak(words: tuple[int, ...], a: int, b: int) -> _Pair:
    a += words[0]
    b = _turn(b + a + words[3], 21)
    total = a + words[1] + words[2]
    return (total + words[3]) & _64, (b + _turn(total, 44) + a) & _64


def _join(u: int, v: int, factor: int) -> int:
    """Combine two words into one."""
    a = _fold((u ^ v) * factor)
    return _fold((v ^ a) * factor) * factor & _64


def _fold(value: int) -> int:
    value &= _64
    return value ^ value >> 47


def _turn(value: int, bits: int) -> int:
    """Rotate a word right."""
    value &= _64
    return (value >> bits | value << 64 - bits) & _64


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
