"""What the weights of PyTorch files are taken for, against the classes of live modules, and how each is told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from renorm_cli.conventions.identify import identify, identity_of
from renorm_cli.formats.frameworks import described
from renorm_cli.model.identity import BOUNDED, Identity
from renorm_cli.model.variable import GraphUse, Hint, Variable

DATA = Path(__file__).parents[3] / "data" / "names" / "torch.txt"

Shapes = dict[str, tuple[int, ...]]


def models() -> dict[str, dict[str, tuple[tuple[int, ...], str]]]:
    """For each model its arrays, with their shapes and unit axes by their modules."""
    found = {}
    for block in DATA.read_text("utf-8").removeprefix("# ").split("\n# "):
        title, *lines = block.strip().split("\n")
        rows = [line.split(" ") for line in lines]
        found[title] = {name: (tuple(int(n) for n in shape.split("x") if n), axes) for name, shape, axes in rows}
    return found


MODELS = models()


def told(shapes: Shapes, framework: str = "torch") -> dict[str, Identity]:
    variables = described([Variable(name, name, shape, "float32") for name, shape in shapes.items()], framework)
    return {one.name: one.identity for one in identify(variables) if one.identity is not None}


def seen(identity: Identity) -> tuple[str, tuple[int, ...] | None]:
    """Role and unit axes, None where they are a guess or the role has none."""
    has_axes = identity.role in BOUNDED and identity.axis_source != "guess"
    return identity.role, identity.unit_axes if has_axes else None


def judged(model: str) -> dict[str, list[str]]:
    """The kernels and tables of a model by what is told of them: right, open or wrong."""
    found: dict[str, list[str]] = {"right": [], "open": [], "wrong": []}
    identities = told({name: shape for name, (shape, _) in MODELS[model].items()})
    for name, (shape, axes) in MODELS[model].items():
        role, units = seen(identities[name])
        if axes == "x" or len(shape) < 2:
            continue
        if axes == "-":
            found["wrong"] += [name] * (role in BOUNDED)
        elif units is None:
            found["wrong" if role not in (*BOUNDED, "unknown") else "open"].append(name)
        else:
            wide = [axis for axis in units if shape[axis] != 1]
            right = axes != "?" and wide == [int(axis) for axis in axes if shape[int(axis)] != 1]
            found["right" if right else "wrong"].append(name)
    return found


@pytest.mark.parametrize("model", MODELS)
def test_what_is_told_of_a_model_is_never_wrong(model: str) -> None:
    assert judged(model)["wrong"] == []


def test_of_all_weights_few_are_left_open() -> None:
    found = [judged(model) for model in MODELS]
    right, left = (sum(len(one[kind]) for one in found) for kind in ("right", "open"))
    assert right > 1200
    assert left < 0.1 * right


def test_without_the_norms_and_biases_of_a_generator_its_kernels_are_a_guess() -> None:
    """The judge finds what is wrong: the same names and shapes as convolutions are right for axis 0 alone."""
    kernels = {name: shape for name, (shape, _) in MODELS["generator"].items() if len(shape) == 4}
    assert {seen(identity) for identity in told(kernels).values()} == {("kernel", None)}
    assert {seen(told(dict([pair], **{"0.0.bias": (100,)}))["0.0.weight"]) for pair in list(kernels.items())[:1]} == {
        ("kernel", (0,))
    }


CONV, LINEAR = (8, 4, 3, 3), (6, 5)
RULES: dict[str, tuple[Shapes, str, tuple[str, tuple[int, ...] | None]]] = {
    "a linear layer": ({"a.weight": LINEAR}, "a.weight", ("kernel", (0,))),
    "a linear layer with its bias": ({"a.weight": LINEAR, "a.bias": (6,)}, "a.weight", ("kernel", (0,))),
    "a bias that fits the other axis": ({"a.weight": LINEAR, "a.bias": (5,)}, "a.weight", ("kernel", (1,))),
    "a bias that fits no axis": ({"a.weight": LINEAR, "a.bias": (7,)}, "a.weight", ("kernel", None)),
    "a square of GPT-2": (
        {"h.c_attn.weight": (5, 15), "h.c_attn.bias": (15,), "h.c_proj.weight": (5, 5), "h.c_proj.bias": (5,)},
        "h.c_proj.weight",
        ("kernel", (1,)),
    ),
    "a square of its name alone": (
        {"h.c_proj.weight": (5, 5), "h.c_proj.bias": (5,)},
        "h.c_proj.weight",
        ("kernel", None),
    ),
    "names of GPT-2 that nothing tells": (
        {"h.0.mlp.c_fc.weight": (4, 16), "h.0.mlp.c_proj.weight": (16, 4)},
        "h.0.mlp.c_fc.weight",
        ("kernel", None),
    ),
    "inputs of GPT-2 by the width": (
        {"h.0.ln_1.weight": (4,), "h.0.mlp.c_fc.weight": (4, 16)},
        "h.0.mlp.c_fc.weight",
        ("kernel", (1,)),
    ),
    "inputs of a linear layer by the width": (
        {"h.0.ln_1.weight": (4,), "h.0.attn.c_attn.weight": (12, 4)},
        "h.0.attn.c_attn.weight",
        ("kernel", (0,)),
    ),
    "outputs of GPT-2 by the width": (
        {"h.0.ln_1.weight": (4,), "h.0.mlp.c_proj.weight": (16, 4)},
        "h.0.mlp.c_proj.weight",
        ("kernel", (1,)),
    ),
    "outputs of a linear layer by the width": (
        {"h.0.ln_1.weight": (4,), "h.0.mlp.c_proj.weight": (4, 16)},
        "h.0.mlp.c_proj.weight",
        ("kernel", (0,)),
    ),
    "a linear layer by the width of the words": (
        {"wte.weight": (9, 4), "h.0.mlp.c_fc.weight": (16, 4)},
        "h.0.mlp.c_fc.weight",
        ("kernel", (0,)),
    ),
    "a square by the other layers": (
        {"h.0.ln_1.weight": (4,), "h.0.mlp.c_fc.weight": (16, 4), "h.1.attn.c_proj.weight": (4, 4)},
        "h.1.attn.c_proj.weight",
        ("kernel", (0,)),
    ),
    "a square by those of its list": (
        {
            "a.0.mlp.c_fc.weight": (16, 4),
            "a.0.mlp.c_fc.bias": (16,),
            "b.0.mlp.c_fc.weight": (4, 16),
            "b.0.mlp.c_fc.bias": (16,),
            "b.0.attn.c_proj.weight": (4, 4),
        },
        "b.0.attn.c_proj.weight",
        ("kernel", (1,)),
    ),
    "a square among layers that do not agree": (
        {
            "a.0.mlp.c_fc.weight": (16, 4),
            "a.0.mlp.c_fc.bias": (16,),
            "b.0.mlp.c_fc.weight": (4, 16),
            "b.0.mlp.c_fc.bias": (16,),
            "c.0.attn.c_proj.weight": (4, 4),
        },
        "c.0.attn.c_proj.weight",
        ("kernel", None),
    ),
    "the width inside of a layer is another": (
        {"h.0.mlp.ln.weight": (16,), "h.0.mlp.c_proj.weight": (4, 16)},
        "h.0.mlp.c_proj.weight",
        ("kernel", None),
    ),
    "a table": ({"tok.weight": (9, 4)}, "tok.weight", ("embedding", (0,))),
    "a projection called a table": (
        {"embed_state.weight": (4, 9), "embed_state.bias": (9,)},
        "embed_state.weight",
        ("kernel", (1,)),
    ),
    "a convolution with its bias": ({"a.weight": CONV, "a.bias": (8,)}, "a.weight", ("kernel", (0,))),
    "a transposed one with its bias": ({"a.weight": CONV, "a.bias": (4,)}, "a.weight", ("kernel", (1,))),
    "a transposed one in groups": ({"a.weight": CONV, "a.bias": (16,)}, "a.weight", ("kernel", None)),
    "a convolution that nothing tells": ({"a.weight": CONV}, "a.weight", ("kernel", None)),
    "a convolution before its norm": ({"0.weight": CONV, "1.weight": (8,)}, "0.weight", ("kernel", (0,))),
    "a transposed one before its norm": ({"0.weight": CONV, "1.weight": (4,)}, "0.weight", ("kernel", (1,))),
    "one of groups before its norm": ({"0.weight": CONV, "1.weight": (16,)}, "0.weight", ("kernel", None)),
    "a norm of the same number": ({"b.conv1.weight": CONV, "b.bn1.weight": (8,)}, "b.conv1.weight", ("kernel", (0,))),
    "a norm before a convolution": (
        {"b.conv1.weight": CONV, "b.norm1.weight": (4,)},
        "b.conv1.weight",
        ("kernel", None),
    ),
    "a square among convolutions": (
        {"a.weight": CONV, "a.bias": (8,), "b.weight": (4, 4, 3, 3)},
        "b.weight",
        ("kernel", (0,)),
    ),
    "a square that may double a size": (
        {"a.weight": CONV, "a.bias": (8,), "b.weight": (4, 4, 2, 2), "b.bias": (4,)},
        "b.weight",
        ("kernel", None),
    ),
    "a square with an even size along one axis": (
        {"a.weight": CONV, "a.bias": (8,), "b.weight": (4, 4, 64, 1), "b.bias": (4,)},
        "b.weight",
        ("kernel", (0,)),
    ),
    "a kernel of one position": ({"lin0.model.1.weight": (1, 64, 1, 1)}, "lin0.model.1.weight", ("kernel", (0,))),
    "a square of one position": (
        {"b.weight": (4, 4, 1, 1), "b.bias": (4,)},
        "b.weight",
        ("kernel", (0,)),
    ),
    "a kernel of one position called up": ({"up.weight": (8, 4, 1, 1)}, "up.weight", ("kernel", None)),
    "a matrix with a third axis": ({"fc.weight": (8, 4, 1)}, "fc.weight", ("kernel", None)),
    "an even square in a list of convolutions": (
        {
            "l.0.conv.weight": (8, 1, 4),
            "l.5.conv.weight": (8, 8, 2),
            "tail.weight": (8, 4, 3),
            "tail.bias": (4,),
        },
        "l.5.conv.weight",
        ("kernel", (0,)),
    ),
    "an even square in a list of both kinds": (
        {
            "l.0.conv.weight": CONV,
            "l.0.conv.bias": (8,),
            "l.1.conv.weight": CONV,
            "l.1.conv.bias": (4,),
            "l.2.conv.weight": (4, 4, 2, 2),
        },
        "l.2.conv.weight",
        ("kernel", None),
    ),
    "an even square of another name in a list": (
        {"l.0.conv.weight": CONV, "l.0.conv.bias": (8,), "l.1.more.weight": (4, 4, 2, 2)},
        "l.1.more.weight",
        ("kernel", None),
    ),
    "an even square that is an item of a list": (
        {"l.0.weight": CONV, "l.0.bias": (8,), "l.1.weight": (4, 4, 2, 2)},
        "l.1.weight",
        ("kernel", None),
    ),
    "a square in a generator": (
        {"a.weight": CONV, "a.bias": (8,), "gen.b.weight": (4, 4, 3, 3)},
        "gen.b.weight",
        ("kernel", None),
    ),
    "a square called up": (
        {"a.weight": CONV, "a.bias": (8,), "up.weight": (4, 4, 3, 3)},
        "up.weight",
        ("kernel", None),
    ),
    "a square where others are transposed": (
        {"a.weight": CONV, "a.bias": (8,), "b.weight": CONV, "b.bias": (4,), "c.weight": (4, 4, 3, 3)},
        "c.weight",
        ("kernel", None),
    ),
    "a patch embedding": ({"patch_embed.weight": CONV}, "patch_embed.weight", ("kernel", (0,))),
    "a convolution in depth": ({"conv1d.weight": (8, 1, 4)}, "conv1d.weight", ("kernel", (0,))),
    "gates": ({"rnn.weight_hh_l0_reverse": (8, 2)}, "rnn.weight_hh_l0_reverse", ("kernel", (0,))),
    "an attention": ({"a.in_proj_weight": (12, 4)}, "a.in_proj_weight", ("kernel", (0,))),
    "experts, outputs first": (
        {"e.gate_up_proj": (2, 12, 4), "e.down_proj": (2, 4, 6)},
        "e.down_proj",
        ("kernel", (0, 1)),
    ),
    "experts, inputs first": (
        {"e.gate_up_proj": (2, 4, 12), "e.down_proj": (2, 6, 4)},
        "e.down_proj",
        ("kernel", (0, 2)),
    ),
    "experts that tell no layout": ({"e.up_proj": (2, 4, 6), "e.down_proj": (2, 6, 4)}, "e.up_proj", ("kernel", None)),
    "experts as modules": (
        {"m.input_linear.weight": (2, 12, 4), "m.output_linear.weight": (2, 4, 6)},
        "m.input_linear.weight",
        ("kernel", (0, 1)),
    ),
    "experts in one weight": ({"a.weight": CONV, "a.bias": (8,), "e.weight": (2, 4, 6)}, "e.weight", ("kernel", None)),
    "a norm over several axes": ({"ln.weight": (3, 4), "ln.bias": (3, 4)}, "ln.weight", ("scale", None)),
    "a norm of one axis": ({"grn.weight": (1, 1, 1, 4)}, "grn.weight", ("scale", None)),
    "a name that nothing knows": ({"text_projection": (4, 6)}, "text_projection", ("unknown", None)),
    "positions": ({"positional_embedding": (5, 4)}, "positional_embedding", ("embedding", (0,))),
    "a position": ({"pos_embed": (1, 5, 4)}, "pos_embed", ("parameter", None)),
    "a mask": ({"attn.bias": (1, 1, 5, 5)}, "attn.bias", ("state", None)),
    "a bias of experts": ({"e.gate_up_proj_bias": (2, 6)}, "e.gate_up_proj_bias", ("bias", None)),
    "statistics": ({"bn.running_mean": (4,)}, "bn.running_mean", ("statistic", None)),
    "a moment": ({"state.0.exp_avg": (4, 6)}, "state.0.exp_avg", ("optimizer", None)),
    "LoRA": ({"q.lora_A.default.weight": (2, 6)}, "q.lora_A.default.weight", ("lora", None)),
    "what LoRA is added to": ({"q.base_layer.weight": (4, 6)}, "q.base_layer.weight", ("kernel", (0,))),
    "the norms of weight normalization": (
        {"a.weight_g": (8, 1, 1, 1), "a.weight_v": CONV, "a.bias": (8,)},
        "a.weight_g",
        ("kernel", (0,)),
    ),
    "its direction": (
        {"a.weight_g": (8, 1, 1, 1), "a.weight_v": CONV, "a.bias": (8,)},
        "a.weight_v",
        ("parameter", None),
    ),
    "norms along inputs": (
        {"a.weight_g": (8, 1, 1, 1), "a.weight_v": CONV, "a.bias": (4,)},
        "a.weight_g",
        ("unknown", None),
    ),
    "norms of the positions of a kernel": (
        {
            "a.bias": (8,),
            "a.parametrizations.weight.original0": (1, 1, 16),
            "a.parametrizations.weight.original1": (8, 2, 16),
        },
        "a.parametrizations.weight.original0",
        ("kernel", (2,)),
    ),
    "norms of a parametrization": (
        {
            "a.bias": (6,),
            "a.parametrizations.weight.original0": (6, 1),
            "a.parametrizations.weight.original1": LINEAR,
        },
        "a.parametrizations.weight.original0",
        ("kernel", (0,)),
    ),
    "spectral normalization": (
        {"a.weight_orig": LINEAR, "a.weight_u": (6,), "a.weight_v": (5,)},
        "a.weight_orig",
        ("parameter", None),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_weight_is_told_by_its_name_and_by_what_is_beside_it(rule: str) -> None:
    shapes, name, expected = RULES[rule]
    for prefix in ("", "module.encoder.layers.11."):
        found = told({prefix + key: shape for key, shape in shapes.items()})
        assert seen(found[prefix + name]) == expected


@pytest.mark.parametrize(
    ("hint", "ops", "axes"),
    [
        (Hint("torch"), (), (0,)),
        (Hint("torch", order=(2, 3, 1, 0)), (), (3,)),
        (Hint("mlx"), (), (0,)),
        (Hint("gguf"), (), (0,)),
        (Hint("onnx"), ("Conv",), (0,)),
        (Hint("onnx"), ("ConvTranspose",), (1,)),
        (Hint("onnx"), ("MatMul",), (3,)),
        (Hint("flax"), (), (3,)),
        (Hint("keras"), (), (3,)),
    ],
)
def test_a_guess_is_the_axis_that_names_units_in_most_layers(
    hint: Hint, ops: tuple[str, ...], axes: tuple[int, ...]
) -> None:
    use = GraphUse("kernel", None, ops) if ops else None
    known = identity_of(Variable("a", "a", (32, 16, 3, 3), "float32", hint, use=use))
    assert (known.unit_axes, known.axis_source) == (axes, "guess")


def test_a_square_in_a_list_of_layers_without_names_is_a_guess() -> None:
    """They are Sequential(Conv2d(3, 8, 3), ConvTranspose2d(8, 8, 3), Conv2d(8, 3, 3)), or with a Conv2d in between."""
    shapes: Shapes = {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "2.weight": (8, 8, 3, 3), "2.bias": (8,)}
    shapes |= {"4.weight": (3, 8, 3, 3), "4.bias": (3,)}
    assert [seen(told(shapes)[f"{number}.weight"])[1] for number in (0, 2, 4)] == [(0,), None, (0,)]
    named = {f"features.{name}": shape for name, shape in shapes.items()}
    assert seen(told(named)["features.2.weight"]) == ("kernel", (0,))


@pytest.mark.parametrize("name", ["optimizer.state.0.x", "ckpt.optimizer_states.0.weight"])
def test_what_a_part_called_optimizer_holds_is_its_state(name: str) -> None:
    assert seen(told({name: (4, 6)})[name]) == ("optimizer", None)


QUANTIZED: dict[str, tuple[dict[str, str], Iterable[str]]] = {
    "AWQ or GPTQ": ({"qweight": "int32", "qzeros": "int32", "scales": "float16", "g_idx": "int32"}, ("scales",)),
    "bitsandbytes": (
        {"weight": "uint8", "weight.absmax": "float32", "weight.quant_map": "float32"},
        ("weight.absmax",),
    ),
    "eight bits": ({"weight": "int8", "SCB": "float32"}, ("weight", "SCB")),
    "compressed tensors": ({"weight_packed": "int32", "weight_scale": "bfloat16"}, ("weight_scale",)),
    "float8": ({"weight": "float8_e4m3fn", "weight_scale_inv": "float32"}, ("weight", "weight_scale_inv")),
    "MLX": ({"weight": "uint32", "scales": "float16", "biases": "float16"}, ("weight", "scales", "biases")),
    "MXFP4": ({"up_blocks": "uint8", "up_scales": "float32"}, ("up_blocks", "up_scales")),
}


@pytest.mark.parametrize("kind", QUANTIZED)
def test_no_part_of_a_quantized_weight_is_a_kernel(kind: str) -> None:
    parts, expected = QUANTIZED[kind]
    variables = [Variable(f"l.q.{own}", f"l.q.{own}", (4, 6), dtype) for own, dtype in parts.items()]
    beside = [
        Variable("l.k.weight", "l.k.weight", (4, 6), "float32"),
        Variable("l.q.bias", "l.q.bias", (4,), "float32"),
    ]
    found = {one.name: one.identity for one in identify(described([*variables, *beside], "torch"))}
    roles = {name: identity.role for name, identity in found.items() if identity is not None}
    assert {roles[f"l.q.{own}"] for own in expected} == {"quantized"}
    assert "kernel" not in {roles[variable.name] for variable in variables}
    assert (roles["l.k.weight"], roles["l.q.bias"]) == ("kernel", "bias")


def test_all_layers_of_mlx_have_their_outputs_first() -> None:
    shapes = {"conv.weight": (8, 3, 3, 4), "up.weight": (4, 3, 3, 4), "rnn.Wx": (8, 2), "rnn.Wh": (8, 2)}
    assert {seen(identity) for identity in told(shapes, "mlx").values()} == {("kernel", (0,))}


@pytest.mark.parametrize(
    ("layer", "axes"), [("Linear", (0,)), ("Conv1D", (1,)), ("ConvTranspose2d", (1,)), ("Conv2d", (0,))]
)
def test_the_class_of_a_module_comes_before_shapes(layer: str, axes: tuple[int, ...]) -> None:
    shape = (5, 5, 2, 2) if layer.endswith("2d") else (5, 5)
    variable = Variable("up.weight", "up.weight", shape, "float32", Hint("torch", layer))
    (found,) = identify(described([variable], "torch"))
    assert found.identity is not None
    assert seen(found.identity) == ("kernel", axes)


@pytest.mark.parametrize(
    ("shape", "groups", "axes"),
    [((4, 2, 3), 2, None), ((4, 4, 3), 2, None), ((4, 2, 3), 4, (0, 1)), ((4, 4, 3), 1, (1,))],
)
def test_units_of_a_transposed_convolution_in_groups_are_no_whole_axis_whatever_its_bias_fits(
    shape: tuple[int, ...], groups: int, axes: tuple[int, ...] | None
) -> None:
    hint = Hint("torch", "ConvTranspose1d", groups=groups)
    weight = Variable("up.weight", "up.weight", shape, "float32", hint)
    bias = Variable("up.bias", "up.bias", (shape[1] * groups,), "float32", hint)
    for variables in ([weight], [weight, bias]):
        found = identify(described(variables, "torch"))[0]
        assert found.identity is not None
        assert seen(found.identity) == ("kernel", axes)


def test_the_norms_of_weight_normalization_are_units_where_the_class_has_them() -> None:
    """They are those along axis 0, and the units of a square transposed convolution are along axis 1."""
    for layer, expected in (("ConvTranspose1d", ("unknown", None)), ("Conv1d", ("kernel", (0,)))):
        shapes = {"up.weight_g": (4, 1, 1), "up.weight_v": (4, 4, 3), "up.bias": (4,)}
        variables = [Variable(name, name, shape, "float32", Hint("torch", layer)) for name, shape in shapes.items()]
        found = identify(described(variables, "torch"))[0]
        assert found.identity is not None
        assert seen(found.identity) == expected


def test_axes_of_an_array_that_is_stored_in_another_order_are_those_of_the_stored_one() -> None:
    """(out, in, h, w) stored as (h, w, in, out): the bias of 8 tells axis 0 of the one, axis 3 of the other."""
    kernel = Variable("a.weight", "a.weight", (3, 3, 4, 8), "float32", Hint(order=(2, 3, 1, 0)))
    bias = Variable("a.bias", "a.bias", (8,), "float32")
    found = identify(described([kernel, bias], "torch"))[0]
    assert found.identity is not None
    assert seen(found.identity) == ("kernel", (3,))


def test_a_table_is_one_by_its_class_or_by_a_name_that_ends_in_emb() -> None:
    named = {f"{name}.weight": (50, 8) for name in ("emb", "item_emb", "user_embs", "emb_2", "tok_emb", "m.pos_emb.0")}
    assert {one: seen(what) for one, what in told(named).items()} == dict.fromkeys(named, ("embedding", (0,)))
    others = {f"{name}.weight": (50, 8) for name in ("emb_proj", "remember", "member", "patch_emb")}
    assert {what.role for what in told(others | {"time_emb.weight": (8, 8), "time_emb.bias": (8,)}).values()} == {
        *("kernel", "bias")
    }
    things = Variable("things.weight", "things.weight", (50, 8), "float32", Hint(layer="Embedding"))
    linear = Variable("emb.weight", "emb.weight", (50, 8), "float32", Hint(layer="Linear"))
    found = [one.identity for one in identify(described([things, linear], "torch"))]
    assert [(one.role, one.unit_axes, one.axis_source) for one in found if one is not None] == [
        ("embedding", (0,), "layer"),
        ("kernel", (0,), "layer"),
    ]
