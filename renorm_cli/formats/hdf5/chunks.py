"""The number of bytes that a stored HDF5 chunk decodes to, computed before HDF5 decodes it.

HDF5 trusts the stream: a chunk that inflates to gigabytes takes gigabytes, and one that inflates to too little is
padded with uninitialized memory (both seen with HDF5 1.14.6). Filter ids and the order of the pipeline are from the
HDF5 file format specification; LZF is the stream format of the liblzf library.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence

DEFLATE, SHUFFLE, FLETCHER32, SCALEOFFSET, LZF = 1, 2, 3, 6, 32000
CHECKSUM_BYTES = 4

ALLOWED = {DEFLATE: "gzip", SHUFFLE: "shuffle", FLETCHER32: "fletcher32", LZF: "lzf"}
OTHERS = {4: "szip", 5: "nbit", SCALEOFFSET: "scaleoffset"}


def why_locked(filters: Sequence[int]) -> str | None:
    """The reason why data with these filter ids cannot be read and written back exactly, or None."""
    for code in filters:
        if code not in ALLOWED:
            return f"its HDF5 filter {OTHERS.get(code, code)} is not gzip, shuffle, fletcher32 or lzf"
    if len(set(filters)) < len(filters):
        return "it names the same HDF5 filter twice"
    if DEFLATE in filters and LZF in filters:
        return "it is compressed twice, by gzip and lzf"
    packed = [index for index, code in enumerate(filters) if code in (DEFLATE, LZF)]
    if packed and SHUFFLE in filters and filters.index(SHUFFLE) > packed[0]:
        return "its HDF5 filter shuffle comes after the compression"
    return None


def decoded_size(data: bytes, filters: Sequence[int], mask: int, most: int) -> int | None:
    """The number of bytes that `data` decodes to; None for a stream that HDF5 itself refuses.

    Counting stops a little beyond `most`. `filters` are ids that `why_locked` allows, in the order of the pipeline; bit
    i of `mask` says that filter i was skipped.
    """
    size = len(data)
    for index in reversed(range(len(filters))):
        code = filters[index]
        if mask >> index & 1 or code == SHUFFLE:
            continue
        if code == FLETCHER32:
            size -= CHECKSUM_BYTES
            continue
        unpacked = (_deflate_size if code == DEFLATE else _lzf_size)(data[: max(size, 0)], most + CHECKSUM_BYTES)
        if unpacked is None:
            return None
        size = unpacked
    return size


def _deflate_size(data: bytes, most: int) -> int | None:
    stream = zlib.decompressobj()
    try:
        size = len(stream.decompress(data, most + 1))
    except zlib.error:
        return None
    return size if stream.eof or size > most else None


def _lzf_size(data: bytes, most: int) -> int | None:
    """The sum of the lengths of the stream's literal runs (control byte < 32) and back references."""
    at = size = 0
    end = len(data)
    while at < end and size <= most:
        control = data[at]
        if control < 32:
            at += control + 2
            size += control + 1
            continue
        length = control >> 5
        if length == 7:
            at += 1
            if at >= end:
                return None
            length += data[at]
        at += 2
        size += length + 2
    return size if at <= end else None


def chunks_of(start: Sequence[int], shape: Sequence[int], chunk: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The origins of all chunks that overlap the box of `shape` at `start`."""
    return itertools.product(
        *(range(at - at % edge, at + count, edge) for at, count, edge in zip(start, shape, chunk, strict=True))
    )
