"""The weights of a program that `torch.export.save` wrote, by the JSON files that tell of them.

Source: torch/export/pt2_archive/_package.py and torch/_export/serde/schema.py of PyTorch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from renorm_cli.errors import FormatError
from renorm_cli.formats.torch.tensors import Storage, Tensor
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.untrusted import JsonError, is_file_name, parse_json, quoted

FOLDER = "data/weights/"
CONFIG = "_weights_config.json"

_DEPTH = 8
_MOST_AXES = 64
_SCALARS = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
"""The dtypes of `ScalarType`, by their numbers."""


def exported(configs: Mapping[str, bytes], sizes: Mapping[str, int], shown: str) -> list[tuple[str, Tensor]]:
    """The weights that configs tell of, each config by the name of its model; `sizes` are those of the storages.

    Where there are several models, names begin with theirs. Raises FormatError where a config is damaged.
    """
    storages: dict[str, Storage] = {}
    found: list[tuple[str, Tensor]] = []
    for model, content in configs.items():
        for name, weight in _weights(content, shown):
            where = f"{shown!r}: the weight {quoted(name)}"
            found.append((name if len(configs) == 1 else f"{model}.{name}", _tensor(weight, sizes, storages, where)))
    return found


def _weights(content: bytes, shown: str) -> Iterable[tuple[str, Any]]:
    try:
        told = parse_json(content, depth=_DEPTH, strict=True)
    except JsonError as problem:
        raise FormatError(f"{shown!r}: what it tells of its weights {problem}") from None
    config = told.get("config") if isinstance(told, dict) else None
    if not isinstance(config, dict):
        raise FormatError(f"{shown!r} has no 'config' of its weights, which an exported program has")
    return config.items()


def _tensor(weight: object, sizes: Mapping[str, int], storages: dict[str, Storage], where: str) -> Tensor:
    told = weight if isinstance(weight, dict) else {}
    meta, key = told.get("tensor_meta"), told.get("path_name")
    if not isinstance(meta, dict) or not is_file_name(key) or FOLDER + key not in sizes:
        raise FormatError(f"{where} is in no file of {FOLDER!r}, or has no 'tensor_meta'")
    size, stride = _integers(meta.get("sizes")), _integers(meta.get("strides"))
    offsets = _integers([meta.get("storage_offset")])
    if size is None or stride is None or offsets is None or len(size) != len(stride):
        raise FormatError(f"{where} has no sizes, strides and offset that are integers")
    code = meta.get("dtype")
    dtype = _SCALARS.get(code, "no number") if isinstance(code, int) else "no number"
    width = DTYPES[dtype].nbytes if dtype in DTYPES else 1
    storage = storages.setdefault(key, Storage(dtype, FOLDER + key, sizes[FOLDER + key] // width))
    odd = "a pickle" if told.get("use_pickle") else None
    return Tensor(storage, offsets[0], size, stride, dtype, odd)


def _integers(values: object) -> tuple[int, ...] | None:
    """Sizes, each written as {"as_int": 5}; None where they are something else."""
    if not isinstance(values, list) or len(values) > _MOST_AXES:
        return None
    found = [value.get("as_int") if isinstance(value, dict) else None for value in values]
    sizes = tuple(one for one in found if type(one) is int and 0 <= one < 1 << 62)
    return sizes if len(sizes) == len(found) else None
