"""The index of a TensorFlow V2 checkpoint (a "tensor bundle"): the data file and the bytes of each tensor.

Source: tensorflow/core/protobuf/tensor_bundle.proto and tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from renorm_cli.errors import FormatError
from renorm_cli.formats.protobuf import BYTES, Budget, Message, damaged, read_message, write_varint
from renorm_cli.formats.tensorflow.leveldb import Table, TableEntry, mask, read_table, unmask
from renorm_cli.formats.tiling import fill
from renorm_cli.model import dtypes
from renorm_cli.untrusted import quoted

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of the object graph, a scalar string tensor that only object-based checkpoints have."""
MAX_RANK = 254
MAX_AXES = 32
"""The limit for tensors whose values are read: the limit of NumPy 1."""

Extents = tuple[tuple[int, int], ...]
"""A box of a tensor: start and length along each axis; length -1 means the whole axis."""
ShardSizes = Callable[[int, int], int] | Sequence[int]
"""The size in bytes of each data file, or a function of (shard, number of shards), called once per used shard."""

DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64", 9: "int64",
    10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16", 17: "uint16",
    18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64", 24: "float8_e5m2",
    25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz", 28: "float8_e5m2fnuz", 29: "int4",
    30: "uint4", 31: "int2", 32: "uint2", 33: "float4_e2m1fn",
}  # fmt: skip
"""The dtype numbers of tensorflow/core/framework/types.proto."""

ITEM_BYTES = {name: dtype.nbytes for name, dtype in dtypes.DTYPES.items()}
"""Stored bytes per element; types of less than 8 bits are not packed. string, variant and resource vary in size."""

_MIN_ITEM_BYTES = {"string": 1, "variant": 5, "resource": 1}  # a length, and for a variant also a checksum
_BUNDLE_VERSION = 1  # kTensorBundleVersion: the version of readers of this format
_MAX_SHARDS = 1 << 20
_MAX_NAME_BYTES = 1 << 16
_CORNER_FIELDS = 4  # the time for one corner of a slice, in fields
_ESCAPED = re.compile(rb"[\0\xff].", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor, stored as `size` bytes at `offset` of data file `shard`, in C order.

    Bytes of `key` that are not UTF-8 are kept as surrogates. `crc` is the CRC-32C of the stored bytes (for a string
    tensor see `object_graph.read_strings`). `crc_position` is the offset of its masked form in the index; None if it
    cannot be patched there (compressed block, or omitted because it is 0). `block` is an index of
    `Bundle.table.blocks`. A partitioned tensor has `slices` and no bytes of its own: size 0, crc None.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int | None
    crc_position: int | None
    block: int
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a partitioned tensor: it starts at `start`; `entry` has its shape and its bytes."""

    start: tuple[int, ...]
    entry: Entry


@dataclass(frozen=True, slots=True)
class Bundle:
    """All tensors in key order; parts of partitioned tensors are only in the `slices` of their tensor.

    `order` is the byte order of the data, "<" or ">". `table` is the index itself, for writing.
    """

    num_shards: int
    order: str
    entries: tuple[Entry, ...]
    table: Table = field(repr=False)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors, by key."""
        return {entry.key: entry.shape for entry in self.entries}

    @property
    def stored(self) -> Iterator[Entry]:
        """Every entry that has bytes: plain tensors, and the parts of partitioned ones."""
        for entry in self.entries:
            if entry.slices:
                yield from (part.entry for part in entry.slices)
            else:
                yield entry


def read_bundle(index: bytes, shard_sizes: ShardSizes, shown: str) -> Bundle:
    """The tensors of a checkpoint, from the bytes of its `.index` file; `shown` names the file in errors.

    Reads no data file. Raises FormatError if anything is not as TensorFlow writes it: table, header, dtypes, shapes,
    sizes, bytes outside their data file or shared by two tensors, slices that do not tile their tensor.
    """
    table = read_table(index, shown)
    if not table.entries or table.entries[0].key:
        raise damaged(shown, "expected a header as the first entry, found none")
    budget = Budget()
    num_shards, order = _header(table.entries[0].value, shown, budget)
    plain: list[tuple[Entry, list[bytes]]] = []
    parts: dict[tuple[str, Extents], Entry] = {}
    shapes: dict[bytes, tuple[int, ...]] = {}  # by encoding: a model has few different shapes
    for item in table.entries[1:]:
        if not item.key.startswith(b"\0"):
            plain.append(_entry(item, num_shards, shapes, shown, budget))
            continue
        name, extents = decode_slice_key(item.key, shown, budget)
        parts[name, extents], boxes = _entry(item, num_shards, shapes, shown, budget)
        if boxes:
            raise damaged(shown, f"expected bytes for the slice {_box_text(extents)} of {quoted(name)}, found slices")
    entries = tuple(
        replace(e, slices=read_slices(e, boxes, parts, shown, budget)) if boxes else e for e, boxes in plain
    )
    for name, _ in parts:
        raise damaged(shown, f"found a slice of {quoted(name)}, which has no entry that lists it")
    bundle = Bundle(num_shards, order, entries, table)
    _check_extents(bundle.stored, num_shards, shard_sizes, shown)
    return bundle


def decode_slice_key(key: bytes, shown: str = "index", budget: Budget | None = None) -> tuple[str, Extents]:
    """The name and the box in the key of a part of a partitioned tensor.

    The key is 0, name, rank, then start and length of each axis, as TensorFlow's OrderedCode writes them
    (tensorflow/core/util/saved_tensor_slice_util.cc, lib/strings/ordered_code.cc). Raises FormatError for any other
    form, for a number that is not in its shortest form, and for more numbers than `budget` has fields left.
    """
    budget = budget or Budget()
    budget.fields -= key.count(0) + key.count(255)  # the name may hold as many escapes
    try:
        zero, at = _ordered_number(key, 0)
        name, at = _ordered_string(key, at)
        rank, at = _ordered_number(key, at)
        budget.fields -= 2 * rank
        if zero or rank > MAX_RANK or budget.fields < 0:
            raise ValueError
        numbers = []
        for _ in range(2 * rank):
            number, at = _ordered_signed(key, at)
            numbers.append(number)
        if at != len(key):
            raise ValueError
    except (ValueError, IndexError):
        shorn = quoted(key.decode("latin-1"))
        raise damaged(shown, f"expected the key of a slice (name, starts, lengths), found {shorn}") from None
    return name.decode("utf-8", "surrogateescape"), tuple(zip(numbers[::2], numbers[1::2], strict=True))


def with_crc(value: bytes, crc: int, shown: str) -> bytes:
    """The stored value of an index entry with its checksum set to `crc`, for an index that is rewritten."""
    at = read_message(value, shown).fixed32(6)[1]
    stored = struct.pack("<I", mask(crc))
    if at is None:
        return value + write_varint(6 << 3 | 5) + stored
    return value[:at] + stored + value[at + 4 :]


def _header(value: bytes, shown: str, budget: Budget) -> tuple[int, str]:
    """Number of shards and byte order of a BundleHeaderProto."""
    header = read_message(value, shown, budget=budget)
    if any(item.wire_type == BYTES for item in header.found.get(1, ())):
        raise FormatError(f"{shown}: expected a V2 checkpoint, found one of format V1; save it again with a V2 Saver")
    num_shards, order = header.integer(1), header.integer(2)
    version = read_message(header.blob(3) or b"", shown, budget=budget)
    if not 0 < num_shards <= _MAX_SHARDS:
        raise damaged(shown, f"expected 1 to {_MAX_SHARDS} shards in the header, found {num_shards}")
    if order not in (0, 1):
        raise damaged(shown, f"expected byte order 0 or 1 in the header, found {order}")
    if version.integer(1) < 0 or version.integer(2) > _BUNDLE_VERSION or _BUNDLE_VERSION in version.integers(3):
        raise FormatError(
            f"{shown}: expected a checkpoint for readers of version {_BUNDLE_VERSION}, found one not for them "
            f"(minimum {version.integer(2)}); save it again with an older TensorFlow"
        )
    return num_shards, "<>"[order]


def _entry(
    item: TableEntry, num_shards: int, shapes: dict[bytes, tuple[int, ...]], shown: str, budget: Budget
) -> tuple[Entry, list[bytes]]:
    """An entry (BundleEntryProto) and its slices (TensorSliceProto, still encoded)."""
    key = item.key.decode("utf-8", "surrogateescape")
    where = f"{shown}: {quoted(key)}"
    if len(item.key) > _MAX_NAME_BYTES:
        raise damaged(where, f"expected a name of at most {_MAX_NAME_BYTES} bytes, found {len(item.key)}")
    message = read_message(item.value, where, budget=budget)
    number = message.integer(1)
    dtype = DTYPES.get(number)
    if dtype is None:
        raise FormatError(f"{where}: expected a known dtype, found number {number}; use a newer renorm-ckpt")
    encoded = message.blob(2) or b""
    shape = shapes.get(encoded)
    if shape is None:
        shape = shapes[encoded] = read_shape(encoded, where, budget)
    boxes = message.blobs(7)
    if boxes:
        return Entry(key, dtype, shape, 0, 0, 0, None, None, item.block), boxes
    shard, offset, size = message.integer(3), message.integer(4), message.integer(5)
    if not 0 <= shard < num_shards:
        raise damaged(where, f"expected a data file from 0 to {num_shards - 1}, found {shard}")
    if offset < 0 or size < 0:
        raise damaged(where, f"expected offset and size of at least 0, found {offset} and {size}")
    _check_size(size, dtype, shape, where)
    masked, at = message.fixed32(6)
    position = None if at is None or item.position is None else item.position + at
    return Entry(key, dtype, shape, shard, offset, size, unmask(masked), position, item.block), []


def read_shape(encoded: bytes, where: str, budget: Budget | None = None) -> tuple[int, ...]:
    """The shape in a TensorShapeProto. Raises FormatError for an unknown rank, or 2**63 elements or more."""
    message = read_message(encoded, where, budget=budget)
    if message.integer(3):
        raise damaged(where, "expected a shape, found one of unknown rank")
    dims = message.blobs(2)
    if len(dims) > MAX_RANK:
        raise damaged(where, f"expected at most {MAX_RANK} axes, found {len(dims)}")
    shape = tuple(read_message(dim, where, budget=budget).integer(1) for dim in dims)
    if any(size < 0 for size in shape):
        raise damaged(where, f"expected axes of length 0 or more, found {min(shape)}")
    # The limit also holds for the axes whose length is not 0.
    if math.prod(size for size in shape if size) >= 1 << 63:
        raise damaged(where, "expected a shape of less than 2**63 elements, found more")
    return shape


def _check_size(size: int, dtype: str, shape: tuple[int, ...], where: str) -> None:
    elements, exact = math.prod(shape), ITEM_BYTES.get(dtype)
    expected = elements * (_MIN_ITEM_BYTES[dtype] if exact is None else exact)
    if size < expected or (exact is not None and size > expected):
        least = "at least " if exact is None else ""
        raise damaged(where, f"expected {least}{expected} bytes for {elements} elements of {dtype}, found {size}")


def _check_extents(stored: Iterable[Entry], num_shards: int, shard_sizes: ShardSizes, shown: str) -> None:
    """Raise FormatError if a tensor reaches beyond its data file, or two tensors share a byte."""
    if not callable(shard_sizes) and len(shard_sizes) != num_shards:
        raise FormatError(f"{shown}: expected {num_shards} data files, found {len(shard_sizes)}; copy all of them")
    shard, length, end, owner = -1, 0, 0, ""
    for entry in sorted(stored, key=lambda e: (e.shard, e.offset)):
        if entry.shard != shard:
            shard, end = entry.shard, 0
            length = shard_sizes(shard, num_shards) if callable(shard_sizes) else shard_sizes[shard]
        after = entry.offset + entry.size
        if after > length:
            where = f"{shown}: {quoted(entry.key)}"
            raise damaged(where, f"expected bytes {entry.offset} to {after} in data file {shard}, found {length} bytes")
        if entry.size and entry.offset < end:
            where = f"{shown}: {quoted(entry.key)}"
            raise damaged(
                where, f"its bytes from {entry.offset} of data file {shard} are also those of {quoted(owner)}"
            )
        if entry.size:
            end, owner = after, entry.key


def read_slices(
    entry: Entry, boxes: list[bytes], parts: dict[tuple[str, Extents], Entry], shown: str, budget: Budget
) -> tuple[Slice, ...]:
    """The parts of a partitioned tensor in listed order; removes them from `parts`."""
    where = f"{shown}: {quoted(entry.key)}"
    slices = []
    for box in boxes:
        extents = read_box(box, where, budget)
        part = parts.pop((entry.key, extents), None)
        if part is None:
            raise damaged(where, f"expected an entry for its slice {_box_text(extents)}, found none")
        if len(extents) != len(entry.shape):
            raise damaged(where, f"expected slices of {len(entry.shape)} axes, found one of {len(extents)}")
        start = tuple(first for first, _ in extents)
        lengths = tuple(size if length < 0 else length for (_, length), size in zip(extents, entry.shape, strict=True))
        if any(a < 0 or a + n > size for a, n, size in zip(start, lengths, entry.shape, strict=True)):
            raise damaged(where, f"expected slices inside its shape, found {_box_text(extents)}")
        if (part.dtype, part.shape) != (entry.dtype, lengths):
            raise damaged(where, f"expected its slice {_box_text(extents)} in {entry.dtype} and in that shape")
        slices.append(Slice(start, part))
    _check_tiling(entry.shape, slices, where, budget)
    return tuple(slices)


def read_box(encoded: bytes, where: str, budget: Budget | None = None) -> Extents:
    """The box in a TensorSliceProto; an axis without a length is whole."""
    extents = []
    for extent in read_message(encoded, where, budget=budget).blobs(1):
        message = read_message(extent, where, budget=budget)
        start, length = message.integer(1), _length(message)
        if length < -1 or (length == -1 and start):
            raise damaged(where, f"expected slices with a length of 0 or more, found {length}")
        extents.append((start, length))
    return tuple(extents)


def _length(message: Message) -> int:
    return message.integer(2) if message.has(2) else -1


def _box_text(extents: Extents) -> str:
    text = ", ".join(f"{start}+{length}" if length >= 0 else "all" for start, length in extents[:8])
    return f"[{text}, ...]" if len(extents) > 8 else f"[{text}]"


def _check_tiling(shape: tuple[int, ...], slices: list[Slice], where: str, budget: Budget | None = None) -> None:
    """Raise FormatError unless every element of the tensor is in exactly one slice."""
    budget = budget or Budget()

    def spend(corners: int) -> None:
        budget.fields -= _CORNER_FIELDS * corners
        if budget.fields < 0:
            raise damaged(where, f"expected few slices along few axes, found {len(slices)} of {len(shape)} axes")

    if not fill(shape, [(part.start, part.entry.shape) for part in slices], spend):
        raise damaged(where, "expected slices that cover it exactly, found a gap or an overlap")


def _ordered_number(key: bytes, at: int) -> tuple[int, int]:
    """Decode a count of bytes, then the number, highest byte first."""
    length = key[at]
    digits = key[at + 1 : at + 1 + length]
    if length > 8 or len(digits) != length or digits[:1] == b"\0":
        raise ValueError
    return int.from_bytes(digits), at + 1 + length


def _ordered_string(key: bytes, at: int) -> tuple[bytes, int]:
    """Decode a string that ends with the bytes 0 1; 0 is written as 0 255, and 255 as 255 0."""
    out = bytearray()
    while True:
        found = _ESCAPED.search(key, at)
        if found is None:
            raise ValueError
        out += key[at : found.start()]
        at = found.end()
        if found[0] == b"\0\1":
            return bytes(out), at
        if found[0][1] != 255 - found[0][0]:
            raise ValueError
        out += found[0][:1]


def _ordered_signed(key: bytes, at: int) -> tuple[int, int]:
    """Decode a signed number: per byte one leading bit unlike the sign bit, then the number in two's complement."""
    head = int.from_bytes(key[at : at + 2].ljust(2, b"\0"))
    negative = not head >> 15
    run = head ^ 0xFFFF if not negative else head
    length = 16 - run.bit_length()
    digits = key[at : at + length]
    if length > 10 or len(digits) != length:
        raise ValueError
    value = int.from_bytes(digits) & (1 << 7 * length) - 1
    value -= (1 << 7 * length) if negative else 0
    size = (value if value >= 0 else ~value).bit_length() + 1
    if size > 64 or length != -(-size // 7):
        raise ValueError
    return value, at + length
