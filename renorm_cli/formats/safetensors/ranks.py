"""Files of torch.distributed.checkpoint in which one of several processes wrote its parts of the weights.

`HuggingFaceStorageWriter(save_distributed=True)` writes one file for each rank and names it by the rank, from 1 on.
Where a tensor of a file begins in its weight stands in the metadata, also where that is at the beginning, as in all
tensors of the first rank. Source: hf_storage.py, _hf_utils.py and filesystem.py of torch 2.14.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats.folders import files_with
from renorm_cli.formats.safetensors.header import Header, read_header
from renorm_cli.storage.files import Opener, SourceFile, reason
from renorm_cli.untrusted import JsonError, most_values, parse_json

_SHARDING = "DCP_SHARDING_INFO"
_OFFSETS = "saved_offsets"
_OF_RANK = re.compile(r"shard-(\d{5,})-model-\d{5,}-of-\d{5,}\.safetensors")
_DEPTH = 3
_MOST_VALUES = 4_000_000


def refuse_part(file: SourceFile, header: Header, beside: Opener) -> None:
    """Raise FormatError where a file holds parts of weights, whose norms would be taken for those of the weights.

    `beside` opens the files of other processes. A tensor that is in no other of them is whole, as each weight that was
    not cut is written once.
    """
    told = header.metadata.get(_SHARDING)
    if told is None:
        return
    give = "give what HuggingFaceStorageWriter writes with enable_consolidation=True"
    others = _of_other_ranks(file.path)
    if _begins_inside(told, file.shown) or any(_shares(header, path, beside) for path in others or ()):
        raise FormatError(f"{file.shown!r} holds parts of weights, which one process of several wrote; {give}")
    if others == []:
        raise FormatError(
            f"{file.shown!r} may hold parts of weights: one process wrote it, and no file of another one, which would"
            f" tell, is beside it; {give}"
        )


def _begins_inside(told: str, shown: str) -> bool:
    """Whether a tensor begins elsewhere than at the beginning of its weight."""
    where = f"{shown!r}: {_SHARDING} in its header"
    if most_values(told.encode("utf-8", "surrogatepass")) > _MOST_VALUES:
        raise FormatError(f"{where} has more than {_MOST_VALUES} values; no checkpoint has so many")
    try:
        found = parse_json(told, depth=_DEPTH, strict=True)
    except JsonError as problem:
        raise FormatError(f"{where} {problem}") from None
    is_inside = False
    for place in found.values() if isinstance(found, dict) else [None]:
        offsets = place.get(_OFFSETS) if isinstance(place, dict) else None
        if not isinstance(offsets, list) or not all(type(offset) is int for offset in offsets):
            raise FormatError(f"{where} has no {_OFFSETS}, a list of integers for each tensor")
        is_inside |= any(offsets)
    return is_inside


def _of_other_ranks(path: Path) -> list[Path] | None:
    """The files of other ranks beside a file; None where its name tells no rank. Raises FormatError."""
    own = _OF_RANK.fullmatch(path.name)
    if own is None:
        return None
    try:
        beside = files_with((".safetensors",), path.parent)
    except OSError as error:
        raise FormatError(f"{str(path.parent)!r} cannot be listed: {reason(error)}") from None
    return [one for one in beside if (found := _OF_RANK.fullmatch(one.name)) is not None and found[1] != own[1]]


def _shares(header: Header, path: Path, beside: Opener) -> bool:
    """Whether another file has a tensor of the same name."""
    with closing(beside(path)) as other:
        return not header.tensors.keys().isdisjoint(read_header(other).tensors)
