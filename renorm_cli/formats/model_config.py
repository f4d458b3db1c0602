"""What `config.json` beside the weights tells of them, where names and shapes leave it open. It is never an error.

Transformers writes the file (`configuration_utils.py` of 5.24). Whether a head is tied to the embedding was held
against all models of transformers that can be built: what is claimed is so in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from renorm_cli.conventions.torch.modules import Weight, is_table, modules
from renorm_cli.conventions.torch.weights import open_as_gpt2
from renorm_cli.errors import FormatError, some_names
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import Variable
from renorm_cli.storage.hub_cache import blob_of
from renorm_cli.untrusted import (
    JsonError,
    Reader,
    UnexpectedError,
    below,
    field,
    flag,
    items,
    most_values,
    parse_json,
    quoted,
    read_small,
    table,
    text,
)

_MOST_BYTES = 8 << 20
_MOST_VALUES = 500_000
_DEPTH = 32

_CONV1D = frozenset(("clvp", "decision_transformer", "gpt2", "imagegpt", "openai-gpt"))
"""Types of models whose linear layers are (in, out)."""
_WITH_HEAD = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_HEAD, _HEAD_BIAS = "lm_head.weight", "lm_head.bias"
_OTHER_HEADS = frozenset(("moonshine", "t5gemma2", "trocr", "whisper"))
"""Types of models whose head is called otherwise."""
_BASES = ({"model"}, {"transformer"}, {"backbone"})
_BASES_OF_T5 = {"shared", "encoder", "decoder"}
_BESIDE_BASE = {"lm_head", "final_logits_bias"}


_T = TypeVar("_T")
_Told = tuple[Sequence[Variable], str]
"""The variables of which something is told, changed so, and what it is."""


class _Config(NamedTuple):
    """The fields that are used."""

    model_type: str
    architectures: tuple[str, ...]
    rows: int | None
    tied: bool
    quantized: str | None


def told_by_config(variables: Sequence[Variable], path: Path) -> tuple[tuple[Variable, ...], tuple[Note, ...]]:
    """The variables of a file with what the config beside it tells, and notes that say so.

    A link, or a file that is damaged or no config of a model, is not used: a note says why.
    """
    try:
        config = _read(path)
    except FormatError as problem:
        return tuple(variables), (Note(f"{problem.text}; it tells nothing of the weights"),)
    if any(one.hint.convention not in ("torch", "mlx") for one in variables):
        return tuple(variables), ()
    notes: list[Note] = []
    for tell in (_gpt2, _quantized, _tied):
        changed, what = tell(config, variables)
        if changed:
            own = {one.key: one for one in changed}
            variables = [own.get(one.key, one) for one in variables]
            notes.append(Note(f"{str(path)!r} tells that {what}"))
    return tuple(variables), tuple(notes)


def _read(path: Path) -> _Config:
    """Raises FormatError where it is no regular file, damaged, or has fields of other types."""
    shown = repr(str(path))
    blob = blob_of(path)
    if blob is None and path.is_symlink():
        raise FormatError(f"{shown} is a link, which could lead out of the folder")
    raw = read_small(blob or path, _MOST_BYTES, shown, "a config", FormatError)
    if most_values(raw) > _MOST_VALUES:
        raise FormatError(f"{shown} holds more than {_MOST_VALUES} values; no config does")
    try:
        found = table(parse_json(raw, depth=_DEPTH, strict=True))
        inner = _field(found, "text_config", table) or {}
        quantization = _field(found, "quantization_config", table) or {}
        return _Config(
            _field(found, "model_type", text) or "",
            _field(found, "architectures", lambda value: items(value, text)) or (),
            _field(found if found.get("vocab_size") is not None else inner, "vocab_size", below(1 << 62)),
            _field(found, "tie_word_embeddings", flag) or False,
            _field(quantization, "quant_method", text),
        )
    except (JsonError, UnexpectedError) as problem:
        raise FormatError(f"{shown}{' ' if isinstance(problem, JsonError) else ': '}{problem}") from None


def _field(found: Mapping[str, object], name: str, read: Reader[_T]) -> _T | None:
    return None if found.get(name) is None else field(found, name, read)


def _gpt2(config: _Config, variables: Sequence[Variable]) -> _Told:
    """Linear layers of which nothing in the file tells whether they are (in, out), as those of GPT-2 are."""
    keys = open_as_gpt2(variables) if config.model_type in _CONV1D else frozenset()
    changed = [replace(one, hint=replace(one.hint, layer="Conv1D")) for one in variables if one.key in keys]
    are = "is" if len(changed) == 1 else "are"
    return changed, f"{_names(changed)} {are} laid out as in {quoted(config.model_type)}"


def _quantized(config: _Config, variables: Sequence[Variable]) -> _Told:
    """What lies beside packed integers in a layer, under a name that means nothing else."""
    keys: set[str] = set()
    for path, module in modules(variables).items() if config.quantized is not None else ():
        if path and any(map(_is_packed, module.values())):
            keys.update(weight.variable.key for weight in module.values() if weight.role == "unknown")
    changed = [replace(one, state="quantized") for one in variables if one.key in keys and one.dtype in FLOATS]
    parts = "is a part" if len(changed) == 1 else "are parts"
    return changed, f"{_names(changed)} {parts} of weights that {quoted(config.quantized or '')} quantized"


def _is_packed(weight: Weight) -> bool:
    is_integer = weight.variable.dtype.startswith(("int", "uint"))
    return is_integer and len(weight.shape) >= 2 and weight.role in ("unknown", "kernel")


def _tied(config: _Config, variables: Sequence[Variable]) -> _Told:
    """The embedding, where it is the only one of the words and the file has all of a model but for the head."""
    has_head = any(name.endswith(_WITH_HEAD) for name in config.architectures)
    if not (config.tied and has_head) or config.model_type in _OTHER_HEADS or not _is_without_head(variables):
        return [], ""
    words = [one for one in variables if len(one.shape) == 2 and one.shape[0] == config.rows and _is_table(one)]
    if len(words) != 1 or words[0].aliases:
        return [], ""
    changed = [replace(words[0], aliases=(_HEAD,), tied=_HEAD)]
    return changed, f"{_HEAD!r} is tied to {_names(changed)}"


def _is_table(variable: Variable) -> bool:
    path, _, own = variable.name.rpartition(".")
    return own == "weight" and is_table(path)


def _is_without_head(variables: Sequence[Variable]) -> bool:
    """Whether all names begin as those of a model, and no head called `lm_head` has more than a bias."""
    tops = {one.name.partition(".")[0] for one in variables} - _BESIDE_BASE
    heads = {one.name for one in variables if "lm_head" in one.name.split(".")}
    return (tops in _BASES or tops <= _BASES_OF_T5) and heads <= {_HEAD_BIAS}


def _names(variables: Sequence[Variable]) -> str:
    return some_names([one.name for one in variables])
