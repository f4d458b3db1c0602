"""Each row of the tables, by its example from public code, against what an operation does with such a weight.

`OPERATIONS` says of every row how that code uses the weight. Which weights reach one output is then computed: each
weight alone goes through the operation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from renorm_cli.conventions.identify import identify
from renorm_cli.conventions.names.registry import CONVENTIONS, Tree, claims, tree_of
from renorm_cli.conventions.names.row import Row, canonical
from renorm_cli.model.identity import BOUNDED
from renorm_cli.model.variable import Variable

EQUATIONS = {
    "matmul": "i,io->o",
    "matmul, transposed": "i,oi->o",
    "lookup": "v,vs->v",
    "conv": "{k}i,{k}io->o",
    "conv, out first": "i{k},oi{k}->o",
    "conv, transposed": "i,{k}oi->o",
    "depthwise": "{k}i,{k}im->im",
    "to heads": "i,ihs->hs",
    "from heads": "hs,hso->o",
    "from heads, out first": "hs,ohs->o",
    "experts": "xi,xio->xo",
}
"""For each operation the letters of input and weight, and those of the output that name its units; k are positions."""

OPERATIONS = {
    "TF-Slim": """
        conv: Conv/weights Conv2d_1a_*/weights Conv2d_1b_*/weights Conv2d_1c_*/weights Conv2d_1d_*/weights
        conv: Conv2d_1e_*/weights Conv2d_1f_*/weights
        conv: Conv2d_1x1/weights Conv2d/weights pointwise_weights conv1/weights fc6/weights shortcut/weights
        conv: logits/weights expand/weights project/weights 1x1/weights path1_conv/weights aux_logits/proj/weights
        conv: *_pointwise/weights aspp0/weights image_pooling/weights concat_projection/weights weights
        conv: decoder/feature_projection0/weights logits/semantic/weights
        conv, transposed: Conv2d_transpose/weights Conv3d_transpose/weights weights
        matmul: fully_connected/weights Logits/weights FC/weights
        depthwise: depthwise_weights""",
    "TensorFlow object detection": """
        conv: BoxEncodingPredictor/weights ClassPredictor/weights BoxPredictor/weights projection_1/weights
        conv: smoothing_1/weights""",
    "TensorFlow 1": """
        matmul: basic_lstm_cell/weights lstm_cell/weights gru_cell/gates/weights gru_cell/candidate/weights
        matmul: Linear/Matrix hiddenlayer_0/weights layer_1/weights
        conv: conv1a/weights conv1b/weights conv1c/weights
        lookup: embedding_weights embedding""",
    "BERT": """
        lookup: embeddings/word_embeddings embeddings/token_type_embeddings embeddings/position_embeddings
        matmul: self/query/kernel self/key/kernel self/value/kernel
        matmul, transposed: seq_relationship/output_weights squad/output_weights output_weights""",
    "XLNet": """
        lookup: lookup_table
        to heads: rel_attn/q/kernel rel_attn/k/kernel rel_attn/v/kernel rel_attn/r/kernel
        from heads, out first: rel_attn/o/kernel
        matmul, transposed: lm_loss/weight adaptive_softmax/cutoff_1/proj adaptive_softmax/cutoff_0/cluster_W""",
    "GPT-2": """
        lookup: wte wpe model/we
        conv: attn/c_attn/w attn/c_proj/w mlp/c_fc/w mlp/c_proj/w
        matmul: model/clf/w""",
    "T5": """
        to heads: SelfAttention/q SelfAttention/k SelfAttention/v
        matmul: SelfAttention/o EncDecAttention/q EncDecAttention/k EncDecAttention/v
        from heads: EncDecAttention/o
        experts: moe/wi/kernel moe/wo/kernel""",
    "tensor2tensor": """
        lookup: symbol_modality_32768_512/shared/weights_0 symbol_modality_32768_512/input_emb/weights_0
        lookup: symbol_modality_32768_512/target_emb/weights_0 target_space_embedding/kernel
        matmul, transposed: symbol_modality_32768_512/softmax/weights_0
        matmul: multihead_attention/q/kernel multihead_attention/k/kernel multihead_attention/v/kernel
        matmul: multihead_attention/output_transform/kernel""",
    "TensorFlow official models": """
        lookup: embedding_and_softmax/weights emb
        matmul, transposed: sm_w_t
        conv: DW
        matmul: local3/weights softmax_linear/weights softmax_w""",
    "nmt": "lookup: embedding_encoder embedding_decoder embedding_share",
    "ELMo": """
        lookup: char_embed
        conv: W_cnn_0
        matmul: W_proj W_carry W_transform
        matmul, transposed: softmax/W""",
    "Sonnet": """
        matmul: linear/w lstm/w_gates lstm/w_i lstm/w_h gru/w_i gru/w_h input_to_hidden/w hidden_to_hidden/w
        conv: conv_1d/w conv_2d/w conv_3d/w w_pw conv1_d/w conv2_d/w conv3_d/w
        conv, transposed: conv_2d_transpose/w conv_3d_transpose/w conv1_d_transpose/w
        conv, transposed: conv2_d_transpose/w conv3_d_transpose/w
        depthwise: conv_2d_depthwise/w w_dw depthwise_conv2_d/w
        matmul: vector_quantizer/embeddings vector_quantizer_ema/embeddings
        lookup: embed/embeddings""",
    "DCGAN": """
        conv: discriminator/d_h1_conv/w
        conv, transposed: generator/g_h1/w
        matmul: g_h0_lin/Matrix d_h4_lin/Matrix""",
    "StyleGAN": """
        conv: Conv/weight Conv0/weight Conv0_up/weight Conv1_down/weight ToRGB_lod0/weight FromRGB_lod0/weight
        matmul: Dense0/weight StyleMod/weight LabelConcat/weight""",
    "WaveNet": """
        conv: causal_layer/filter layer0/filter layer0/gate layer0/dense layer0/skip layer0/gc_gate layer0/gc_filter
        conv: postprocess1
        lookup: gc_embedding""",
    "baselines": """
        conv: c1/w
        matmul: fc1/w mlp_fc0/w pi/w vf/w q/w wx wh""",
    "tensorpack": """
        conv: conv1/W convshortcut/W W
        conv, transposed: deconv/W W""",
    "Keras 1": """
        matmul: *_W *_W_i *_W_c *_W_f *_W_o *_W_z *_W_r *_W_h *_U_i *_U_c *_U_f *_U_o *_U_z *_U_r *_U_h
        conv: *_W *_conv1_W convolution2d_1_W
        conv, out first: *_W *_conv1_W convolution2d_1_W
        conv, transposed: *_W
        lookup: embedding_1_W""",
    "KerasHub": """
        matmul: feedforward_intermediate_dense/vars/0 feedforward_output_dense/vars/0 feedforward_gate_dense/vars/0
        matmul: _feedforward_gate_dense/vars/0 _feedforward_intermediate_dense/vars/0 gating_ffw/vars/0
        matmul: _feedforward_output_dense/vars/0 _sparse_feedforward_gate_dense/vars/0
        matmul: mlp_intermediate_dense/vars/0 mlp_output_dense/vars/0 ffw_gating/vars/0 ffw_linear/vars/0
        matmul: query_projector/vars/0 key_projector/vars/0 value_projector/vars/0 output_projector/vars/0
        matmul: input_projector/vars/0 gate_projector/vars/0 self_attention/output_dense/vars/0
        matmul: self_attention_layer/attention_output/vars/0 mlp/gate_proj/vars/0 mlp/up_proj/vars/0
        matmul: mlp/down_proj/vars/0 altup/modality_router/vars/0 altup/prediction_coefs/vars/0
        matmul: altup/correction_coefs/vars/0 laurel/linear_left/vars/0 laurel/linear_right/vars/0
        matmul: attention/q_proj/vars/0 attention/k_proj/vars/0 attention/v_proj/vars/0 attention/o_proj/vars/0
        matmul: attn/q_proj/vars/0 attn/k_proj/vars/0 attn/v_proj/vars/0 relative_position_embedding/pos_proj/vars/0
        matmul: lconv1d/linear_start/vars/0 lconv1d/linear_end/vars/0 ffw_layer_start/ffw_layer_1/vars/0
        matmul: ffw_layer_end/ffw_layer_1/vars/0
        matmul: attention/post/vars/0 subsample_conv_projection/input_proj_linear/vars/0 per_layer_input_gate/vars/0
        matmul: per_layer_projection/vars/0 per_layer_model_projection/vars/0 *_embedder/embedding_projection/vars/0
        matmul: vision_output_encoder/vision_input_projection/vars/0 patch_embedder/input_proj/vars/0
        matmul: sparse_feedforward_gate_dense/vars/0 shared_expert_gate_dense/vars/0
        matmul: sparse_moe_block/router_gate/vars/0 sparse_moe_block/shared_expert_gate/vars/0
        matmul: linear_attn/in_proj_a/vars/0 linear_attn/in_proj_b/vars/0 linear_attn/in_proj_qkv/vars/0
        matmul: linear_attn/in_proj_z/vars/0 linear_attn/out_proj/vars/0 q_dense_layer/vars/0 k_dense_layer/vars/0
        matmul: v_dense_layer/vars/0 o_dense_layer/vars/0 RWKV_TIME_MIX/receptance/vars/0 RWKV_TIME_MIX/key/vars/0
        matmul: RWKV_TIME_MIX/value/vars/0 RWKV_TIME_MIX/output_layer/vars/0 RWKV_CMIX/dense_k/vars/0
        matmul: RWKV_CMIX/dense_v/vars/0 self_attn/q_proj/vars/0 self_attn/k_proj/vars/0 self_attn/v_proj/vars/0
        matmul: downsample/reduction/vars/0 spatial_patching_and_embedding/patch_embedding/vars/0
        to heads: rel_attn/encoding/vars/0 relative_attention/_encoding_dense/vars/0
        conv: conv1/vars/0 encoder/output_projection/vars/0 *_downsample_conv/vars/0 *_1_conv/vars/0
        conv: *_squeeze_conv/vars/0 *_excite_conv/vars/0 embedder_stem1_conv/vars/0 embedder_stem2a_conv/vars/0
        conv: embedder_stem2b_conv/vars/0 *_project_conv/vars/0 *_expand_conv/vars/0 conv1_convolution/vars/0
        conv: lateral_conv_1_convolution/vars/0 mid_attention/query_conv2d/vars/0 mid_attention/key_conv2d/vars/0
        conv: mid_attention/value_conv2d/vars/0 mid_attention/output_conv2d/vars/0
        conv: residual_layer1/convolution1/vars/0 fusion_stage/projection/vars/0 reassemble_stage/projection/vars/0
        conv: patch_embedding/vars/0
        depthwise: *_dwconv2/vars/0
        from heads: self_attn/o_proj/vars/0
        lookup: position_embedding/vars/0 *_position_embedding/vars/0
        lookup: denoising_class_embed/vars/0 token_embedding/vars/0 word_embed/vars/0 word_embedding/vars/0
        matmul: token_embedding/vars/1""",
    "transformers": """
        lookup: wpe/embeddings positions_embed/embeddings position_embeddings/embeddings position_embedding/embeddings
        lookup: embed_positions/embeddings embed_positions/weight rel_embeddings.weight
        lookup: wte/weight tokens_embed/weight word_embeddings/weight token_type_embeddings/embeddings shared/weight
        lookup: word_embedding/weight token_embedding/weight embed_tokens/weight transformer/embeddings/weight
        matmul: c_attn/weight c_proj/weight c_fc/weight self/query/kernel self/key/kernel self/value/kernel
        matmul: attention/query/kernel attention/key/kernel attention/value/kernel
        to heads: rel_attn/q rel_attn/k rel_attn/v rel_attn/r
        from heads, out first: rel_attn/o
        conv: patch_embeddings/projection/kernel patch_embeddings/kernel downsampling_layer.1/kernel dwconv/kernel
        conv: patch_embeddings.0/proj/kernel self/sr/kernel embedder/convolution/kernel convolution/kernel
        conv: encoder/conv1/kernel conv_layers.0/conv/kernel""",
}

ALL = [(convention, row) for convention, rows in CONVENTIONS.items() for row in rows]
KERNELS = [(convention, row) for convention, row in ALL if row.role in BOUNDED]


def uses() -> Iterator[tuple[str, str, str]]:
    """Convention, ending and operation of all that `OPERATIONS` says."""
    for convention, lines in OPERATIONS.items():
        for line in lines.strip().splitlines():
            operation, _, endings = line.strip().partition(": ")
            yield from ((convention, ending, operation) for ending in endings.split())


def reached(operation: str, rank: int) -> tuple[int, ...]:
    """The axes that name units in a weight of this rank: those along which it reaches another output."""
    equation = EQUATIONS[operation]
    letters = equation.replace("{k}", "").split(",")[1].split("->")[0]
    equation = equation.replace("{k}", "xyz"[: rank - len(letters)])
    sent, kept = equation.split(",")
    lengths = dict(zip(kept.split("->")[0], (2, 3, 4, 5, 6), strict=False))
    inputs = np.ones([lengths[letter] for letter in sent])
    shape = [lengths[letter] for letter in kept.split("->")[0]]
    outputs: dict[tuple[int, ...], bytes] = {}
    for place in np.ndindex(*shape):
        weight = np.zeros(shape)
        weight[place] = 1
        outputs[place] = (np.einsum(equation, inputs, weight) != 0).tobytes()
    first = (0,) * len(shape)
    return tuple(
        axis for axis in range(len(shape)) if outputs[first] != outputs[(*first[:axis], 1, *first[axis + 1 :])]
    )


def file_of(convention: str, row: Row) -> list[Variable]:
    """The example of a row, what must be beside it, and a name of the convention alone where the row's is common."""
    files = [Variable(row.name, row.name, row.shape, "float32")]
    if row.beside:
        axes = reached(operation_of(convention, row), len(row.shape))
        name = beside(row)
        files.append(Variable(name, name, (int(np.prod([row.shape[axis] for axis in axes])),), "float32"))
    if row.common:
        own = next(other for other in reversed(CONVENTIONS[convention]) if not other.common and not other.beside)
        files.append(Variable(f"own/{own.name}", "own", own.shape, "float32"))
    return files


def beside(row: Row) -> str:
    folder, slash, last = row.name.rpartition("/")
    other = row.beside[0]
    if other.startswith("*_"):
        return folder + slash + re.sub("W", "b", re.sub("U", "b", last))
    return folder + slash + other


def operation_of(convention: str, row: Row) -> str:
    """The operation of the row: of several rows with one ending, the one with the same place among them."""
    same = [other for other in CONVENTIONS[convention] if other.ending == row.ending and other.role in BOUNDED]
    named = [use for name, ending, use in uses() if (name, ending) == (convention, row.ending)]
    return named[same.index(row)]


def without(row: Row) -> Tree:
    """All conventions without the row, and without it in those that share it."""
    return tree_of(
        (name, [other for other in rows if (other.ending, other.layout) != (row.ending, row.layout)])
        for name, rows in CONVENTIONS.items()
    )


def label(pair: tuple[str, Row] | object) -> str:
    return pair.ending if isinstance(pair, Row) else str(pair)


def test_every_kernel_and_embedding_has_an_operation_that_judges_it() -> None:
    named = Counter((convention, ending) for convention, ending, _ in uses())
    assert named == Counter((convention, row.ending) for convention, row in KERNELS)


@pytest.mark.parametrize(("convention", "row"), KERNELS, ids=label)
def test_the_units_of_a_row_are_the_outputs_of_the_operation_that_uses_it(convention: str, row: Row) -> None:
    expected = reached(operation_of(convention, row), len(row.shape))
    example, *rest = file_of(convention, row)
    found = claims([example, *rest])[example.key]
    assert (found.source, found.role, found.unit_axes) == ("name", row.role, expected)
    known = identify([example, *rest])[0].identity
    assert known is not None
    assert (known.role, known.unit_axes) == (row.role, expected)
    assert known.axis_source in ("name", "shape")  # the bias beside it tells too


@pytest.mark.parametrize(("convention", "row"), [pair for pair in ALL if pair[1].role not in BOUNDED], ids=label)
def test_the_other_rows_tell_what_their_example_is_and_no_units(convention: str, row: Row) -> None:
    example, *rest = file_of(convention, row)
    found = claims([example, *rest])[example.key]
    assert (found.source, found.role, found.unit_axes) == ("name", row.role, None)


@pytest.mark.parametrize(("convention", "row"), ALL, ids=label)
def test_without_its_row_an_example_is_not_known_and_never_something_else(convention: str, row: Row) -> None:
    example, *rest = file_of(convention, row)
    found = claims([example, *rest], without(row)).get(example.key)
    assert found is None


@pytest.mark.parametrize(("convention", "row"), KERNELS, ids=label)
def test_an_array_of_another_rank_is_not_known(convention: str, row: Row) -> None:
    example, *rest = file_of(convention, row)
    other = Variable(example.name, example.key, (2, 3, 5, 7, 11, 13), "float32")
    assert example.key not in claims([other, *rest])


@pytest.mark.parametrize(("convention", "row"), ALL, ids=label)
def test_a_row_says_where_in_public_code_its_name_stands(convention: str, row: Row) -> None:
    repository, path = row.source.split(" ")
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
    assert re.fullmatch(r"[\w./-]+\.py", path)
    ending = [canonical(part) for part in row.ending.split("/")]
    parts = [canonical(part) for part in row.name.split("/")][-len(ending) :]
    assert all(re.fullmatch(re.escape(end).replace(r"\*", ".*"), part) for end, part in zip(ending, parts, strict=True))
    assert not row.beside or row.role in BOUNDED


def test_a_row_whose_units_are_another_axis_would_be_found() -> None:
    assert reached("matmul", 2) == (1,)
    assert reached("matmul, transposed", 2) == (0,)
    assert reached("conv, transposed", 4) == (2,)
    assert reached("conv", 4) == (3,)
    assert reached("depthwise", 4) == (2, 3)
    assert reached("conv, out first", 4) == (0,)
    assert reached("to heads", 3) == (1, 2)
