"""Hostile `config.json` beside the weights of a model: evidence at most, and no reason to fail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.tensor_files import ENTRY, read_safetensors, safetensors

from hostile.frame import Case, outside
from hostile.index_cases import FIRST, INDEX
from hostile.safetensors_cases import DATA

_NOTHING = "it tells nothing of the weights"
_SOUND = {"model_type": "x", "architectures": ["XForCausalLM"], "tie_word_embeddings": True, "vocab_size": 2}


def _beside(put: Callable[[Path], object], *, folder: bool = False) -> Callable[[Path], Path]:
    """A model of an embedding, and what is called `config.json` beside it."""

    def make(inside: Path) -> Path:
        model = inside / "model"
        model.mkdir()
        header = {"model.embed_tokens.weight": ENTRY | {"shape": [2, 1]}}
        (model / "model.safetensors").write_bytes(safetensors(header, DATA))
        put(model / "config.json")
        return model if folder else model / "model.safetensors"

    return make


def _text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def _told(**changed: Any) -> Callable[[Path], object]:
    return _text(json.dumps(_SOUND | changed))


def _renamed(before: Path, after: Path) -> None:
    assert list(read_safetensors(before)) == list(read_safetensors(after)) == ["model.embed_tokens.weight"]


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 << 20)


def _case(name: str, attack: str, put: Callable[[Path], object], says: str = _NOTHING, apply: bool = False) -> Case:
    commands = ("inspect", "apply") if apply else ("inspect",)
    return Case(f"config-{name}", attack, _beside(put), "handled", says, untouched=_renamed, commands=commands)


def _link_out(path: Path) -> None:
    path.symlink_to(outside(path.parents[1]) / "secret.h5")


def _index(inside: Path) -> Path:
    (inside / FIRST).write_bytes(safetensors({"a.weight": ENTRY | {"shape": [2, 1]}}, DATA))
    (inside / "config.json").write_text(json.dumps(_SOUND))
    (inside / INDEX).write_text(json.dumps({"weight_map": {"a.weight": FIRST, "b.weight": "config.json"}}))
    return inside / INDEX


CASES = (
    _case(
        "link",
        "it is a link to a file outside",
        _link_out,
        "is a link",
        True,
    ),
    _case("loop", "it is a link to itself", lambda path: path.symlink_to(path.name), "is a link"),
    _case("folder", "it is a folder", lambda path: path.mkdir(), "Is a directory"),
    _case("fifo", "it is a named pipe: opening it hangs", os.mkfifo, "is not a regular file"),
    _case("100-mb", "it has 100 MB", _large, "at most"),
    _case("empty", "it is empty", _text(""), "no valid JSON"),
    _case("deep", "100,000 lists inside each other", _text("[" * 100_000 + "]" * 100_000), "nested deeper", True),
    _case("deep-objects", "200 objects inside each other", _text('{"a":' * 200 + "1" + "}" * 200), "nested deeper"),
    _case("values", "a million empty lists", _text(f'{{"a": [{"[]," * 1_000_000}1]}}'), "more than 500000 values"),
    _case("not-text", "it is no UTF-8", _text(b'{"model_type": "\xff"}'), "no valid JSON"),
    _case("nan", "NaN in it", _text('{"a": NaN, "vocab_size": 2}'), "no valid JSON"),
    _case(
        "twice",
        "a key comes twice",
        _text('{"tie_word_embeddings": true, "tie_word_embeddings": false}'),
        "comes twice",
    ),
    _case("list", "it is a list", _text("[1]"), "a table was expected"),
    _case("digits", "a number of 5,000 digits", _text(f'{{"vocab_size": {"9" * 5000}}}'), _NOTHING),
    _case("flag", "a flag is a text", _told(tie_word_embeddings="\x1b[2J\n::error::yes"), "tie_word_embeddings"),
    _case("rows", "the words are counted by a bool", _told(vocab_size=True), "vocab_size: an integer"),
    _case("classes", "the classes are a text", _told(architectures="XForCausalLM"), "architectures: a list"),
    _case("type", "the type of the model is an object", _told(model_type={"a": 1}), "model_type: a text"),
    _case("method", "a method is a list", _told(quantization_config={"quant_method": ["x"]}), "quant_method: a text"),
    _case(
        "sound",
        "names that are no words of a model",
        _told(model_type="\u202e" * 9, x={"__proto__": []}),
        "is tied to",
        True,
    ),
    Case("config-as-shard", "an index names it as a shard", _index, "error", "header of"),
    Case(
        "config-in-folder",
        "a folder has a config that is a link out of it",
        _beside(_link_out, folder=True),
        "handled",
        "is a link",
        commands=("inspect",),
    ),
    Case(
        "config-in-folder-copied",
        "a folder that would be copied has a config that is a link out of it",
        _beside(_link_out, folder=True),
        "error",
        "a symbolic link",
        commands=("apply",),
    ),
)
