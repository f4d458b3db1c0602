"""Files of torch.distributed.checkpoint in which one of several processes wrote its parts of the weights.

`HuggingFaceStorageWriter(save_distributed=True)` writes one file for each rank and names it by the rank, from 1 on.
Where a tensor of a file begins in its weight stands in the metadata, also where that is at the beginning, as in all
tensors of the first rank. Source: hf_storage.py, _hf_utils.py and filesystem.py of torch 2.14.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats.folders import files_with
from renorm_cli.storage.files import SourceFile, reason
from renorm_cli.untrusted import JsonError, most_values, parse_json

_SHARDING = "DCP_SHARDING_INFO"
_OFFSETS = "saved_offsets"
_OF_RANK = re.compile(r"shard-(\d{5,})-model-\d{5,}-of-\d{5,}\.safetensors")
_DEPTH = 3
_MOST_VALUES = 4_000_000


def refuse_part(file: SourceFile, metadata: Mapping[str, str]) -> None:
    """Raise FormatError where a file holds parts of weights, whose norms would be taken for those of the weights."""
    told = metadata.get(_SHARDING)
    if told is not None and (_begins_inside(told, file.shown) or _has_other_ranks(file.path)):
        raise FormatError(
            f"{file.shown!r} holds parts of weights, which one process of several wrote; give what"
            " HuggingFaceStorageWriter writes with enable_consolidation=True"
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


def _has_other_ranks(path: Path) -> bool:
    """Whether a file is of one rank by its name, and has files of others beside it. Raises FormatError."""
    own = _OF_RANK.fullmatch(path.name)
    if own is None:
        return False
    try:
        beside = files_with((".safetensors",), path.parent)
    except OSError as error:
        raise FormatError(f"{str(path.parent)!r} cannot be listed: {reason(error)}") from None
    ranks = {found[1] for one in beside if (found := _OF_RANK.fullmatch(one.name)) is not None}
    return bool(ranks - {own[1]})
