"""What `config.json` beside safetensors tells, where names and shapes leave it open, and that an output needs none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders, tensor_files
from support.files import agrees, bound, look

from renorm_cli.api.verbs import check, diff
from renorm_cli.model.report import Report

TIED = {
    "model_type": "other",
    "architectures": ["OtherForCausalLM"],
    "tie_word_embeddings": True,
    "vocab_size": 9,
}
WORDS, LAYER = "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"
MODEL = {WORDS: builders.kernel((9, 4), (0,)), LAYER: builders.kernel((4, 4), (0,), seed=1)}
Arrays = Mapping[str, np.ndarray]


def _written(folder: Path, arrays: Arrays, config: Any = None, name: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True)
    if name.endswith(".json"):
        tensor_files.write_index(folder / name, tensor_files.halves(arrays))
    else:
        tensor_files.write_safetensors(folder / name, arrays)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / name


def _aliases(report: Report) -> dict[str, tuple[str, ...]]:
    return {row.step.variable.name: row.step.variable.aliases for row in report.rows if row.step.variable.aliases}


def _unidentified(report: Report) -> set[str]:
    return {skip.variable.name for skip in report.unidentified}


def _told(report: Report) -> list[str]:
    return [note.text for note in report.notes if "config.json" in note.text]


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json", ""])
def test_a_head_that_is_tied_and_left_out_is_an_alias_of_the_embedding(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "in", MODEL, TIED, name or "model.safetensors")
    report = look(path if name else path.parent)
    assert _aliases(report) == {WORDS: ("lm_head.weight",)}
    assert _told(report) == [
        f"{str(tmp_path / 'in' / 'config.json')!r} tells that 'lm_head.weight' is tied to {WORDS!r}"
    ]


@pytest.mark.parametrize(
    ("changed", "more"),
    [
        ({"tie_word_embeddings": False}, {}),
        ({"tie_word_embeddings": None}, {}),
        ({"architectures": ["OtherForSequenceClassification"]}, {}),
        ({"architectures": None}, {}),
        ({"vocab_size": 8}, {}),
        ({"model_type": "whisper"}, {}),
        ({}, {"lm_head.weight": np.ones((9, 4), "f4")}),
        ({}, {"lm_head.weight_scale": np.ones((9, 1), "f4")}),
        ({}, {"model.other_embed.weight": np.ones((9, 4), "f4")}),
        ({}, {"cls.predictions.bias": np.ones(9, "f4")}),
    ],
)
def test_what_may_have_another_head_has_no_alias(changed: dict[str, Any], more: Arrays, tmp_path: Path) -> None:
    report = look(_written(tmp_path, {**MODEL, **more}, TIED | changed))
    assert _aliases(report) == {}
    assert _told(report) == []


def test_an_output_without_a_config_beside_it_is_what_was_meant(tmp_path: Path) -> None:
    path = _written(tmp_path / "in", MODEL, TIED)
    out = tmp_path / "out.safetensors"
    report = bound(path, out)
    assert _aliases(report) == {WORDS: ("lm_head.weight",)}
    agrees(MODEL[WORDS], tensor_files.read_safetensors(out)[WORDS], (0,), 1.0)
    assert _aliases(look(out)) == {}
    assert diff(path, out, expect_renorm=True, max_norm=1.0).proven
    for given in (path.parent, path):
        bound(given, None, in_place=True)
        assert path.read_bytes() == out.read_bytes()


def test_an_output_beside_another_config_is_decided_as_its_input(tmp_path: Path) -> None:
    """The config where an output goes is one of another model."""
    square = builders.kernel((4, 4), (1,))
    path = _written(tmp_path / "in", {"h.0.attn.c_proj.weight": square}, {"model_type": "gpt2"})
    other = _written(tmp_path / "out", MODEL, TIED)
    bound(path, other, force=True)
    agrees(square, tensor_files.read_safetensors(other)["h.0.attn.c_proj.weight"], (1,), 1.0)


@pytest.mark.parametrize(
    ("more", "axes", "source"),
    [
        ({}, (1,), "layer"),
        ({"h.0.mlp.c_fc.weight": (4, 16), "h.0.mlp.c_fc.bias": (16,)}, (1,), "name"),
        ({"h.0.mlp.c_fc.weight": (16, 4), "h.0.mlp.c_fc.bias": (16,)}, (0,), "name"),
        ({"h.0.mlp.c_fc.weight": (16, 4), "wte.weight": (9, 4)}, (0,), "name"),
        ({"h.1.mlp.c_fc.weight": (16, 4), "h.1.ln_1.weight": (4,)}, (0,), "name"),
    ],
)
def test_the_type_of_a_model_tells_the_layout_of_gpt2_where_shapes_do_not(
    more: Mapping[str, tuple[int, ...]], axes: tuple[int, ...], source: str, tmp_path: Path
) -> None:
    shapes = {"h.0.attn.c_proj.weight": (4, 4), "h.0.attn.c_proj.bias": (4,), **more}
    arrays = {name: np.ones(shape, "f4") for name, shape in shapes.items()}
    report = look(_written(tmp_path, arrays, {"model_type": "gpt2"}))
    (row,) = (row for row in report.rows if "c_proj" in row.step.variable.name)
    assert (row.step.unit_axes, row.step.axis_source) == (axes, source)
    assert bool(_told(report)) == (source == "layer")
    report = look(_written(tmp_path, arrays, {"model_type": "gpt_bigcode"}))
    assert (axes == (1,)) is bool(more) or all(row.step.unit_axes == (0,) for row in report.rows)


def test_parts_of_quantized_weights_are_told_by_the_integers_beside_them(tmp_path: Path) -> None:
    """As AQLM and HQQ store them, whose names mean nothing elsewhere."""
    arrays = {
        "model.a.codes": np.ones((4, 2), "u1"),
        "model.a.codebooks": np.ones((2, 8, 1, 8), "f4"),
        "model.b.W_q": np.ones((4, 2), "u1"),
        "model.b.zero": np.ones((4, 2), "f4"),
        "model.b.bias": np.ones((4, 2), "f4"),
        "model.b.weight": np.ones((4, 2), "f4"),
        "model.c.other": np.ones((4, 3), "f4"),
        "codes": np.ones((4, 2), "u1"),
        "other": np.ones((4, 3), "f4"),
        LAYER: MODEL[LAYER],
    }
    path = _written(tmp_path, arrays)
    assert check(path, max_norm=9.0).verdict == "undecided"
    assert _unidentified(look(path)) == {"model.a.codebooks", "model.b.zero", "model.c.other", "other"}
    _written(tmp_path, arrays, {"quantization_config": {"quant_method": "aq\x1blm"}})
    report = look(path)
    assert _unidentified(report) == {"model.c.other", "other"}
    quantized = {skip.variable.name for skip in report.skips if skip.role == "quantized"}
    assert quantized == {"model.a.codebooks", "model.b.zero"}
    assert {row.step.variable.name for row in report.rows} == {"model.b.weight", LAYER}
    (said,) = _told(report)
    assert said.endswith("'model.a.codebooks', 'model.b.zero' are parts of weights that 'aq\\x1blm' quantized")
    _written(tmp_path, arrays, {"quantization_config": {"bits": 4}})
    assert len(look(path).unidentified) == 4


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["c_proj.weight"], "'c_proj.weight' is laid out as in 'gpt2'"),
        (["a.c_proj.weight", "b.c_proj.weight"], "'a.c_proj.weight', 'b.c_proj.weight' are laid out as in 'gpt2'"),
        (["m.W_q", "m.zero"], "'m.zero' is a part of weights that 'hqq' quantized"),
    ],
)
def test_a_note_on_one_weight_is_in_the_singular(names: list[str], said: str, tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "quantization_config": {"quant_method": "hqq"}}
    arrays = {name: np.ones((4, 4), "u1" if name == "m.W_q" else "f4") for name in names}
    (note,) = _told(look(_written(tmp_path, arrays, config)))
    assert note == f"{str(tmp_path / 'config.json')!r} tells that {said}"


def test_names_of_other_frameworks_are_not_told_by_it(tmp_path: Path) -> None:
    arrays = {
        "a/kernel:0": np.ones((4, 3), "f4"),
        "a/codes:0": np.ones((4, 3), "u1"),
        "a/other:0": np.ones((4, 3), "f4"),
    }
    path = _written(tmp_path, arrays, TIED | {"quantization_config": {"quant_method": "aqlm"}})
    assert _told(look(path)) == []


def test_what_is_no_config_is_not_used_and_a_note_says_so(tmp_path: Path) -> None:
    path = _written(tmp_path, MODEL, ["a list"])
    (said,) = _told(look(path))
    assert said.endswith("config.json': a table was expected, found another list; it tells nothing of the weights")
    assert len(look(path).rows) == 2


# --- judged by transformers


@pytest.mark.slow
def test_transformers_ties_the_head_of_an_output_to_its_bounded_embedding(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    small = {"vocab_size": 50, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1}
    for tied in (True, False):
        config = transformers.LlamaConfig(
            **small, num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=tied
        )
        model = transformers.LlamaForCausalLM(config)
        folder = tmp_path / str(tied)
        model.save_pretrained(folder)
        report = bound(folder, None, limit=0.03)
        assert _aliases(report) == ({"model.embed_tokens.weight": ("lm_head.weight",)} if tied else {})
        loaded = transformers.LlamaForCausalLM.from_pretrained(f"{folder}-renorm")
        words = loaded.model.embed_tokens.weight
        agrees(model.model.embed_tokens.weight.detach().numpy(), words.detach().numpy(), (0,), 0.03)
        assert (loaded.lm_head.weight is words) == tied
        agrees(model.lm_head.weight.detach().numpy(), loaded.lm_head.weight.detach().numpy(), (0,), 0.03)
