"""Names of KerasHub's models in `.weights.h5`: of layers by the attributes that hold them, of weights by numbers."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_LAYERS, _MODELS = "keras-team/keras-hub keras_hub/src/layers/modeling/", "keras-team/keras-hub keras_hub/src/models/"
_LAYER = "transformer_layer_0/"
_DENSE = {
    "feedforward_intermediate_dense": _LAYERS + "transformer_encoder.py",
    "feedforward_output_dense": _LAYERS + "transformer_encoder.py",
    "feedforward_gate_dense": _MODELS + "llama/llama_decoder.py",
    "mlp_intermediate_dense": _MODELS + "bloom/bloom_decoder.py",
    "mlp_output_dense": _MODELS + "bloom/bloom_decoder.py",
    "ffw_gating": _MODELS + "gemma/gemma_decoder_block.py",
    "ffw_linear": _MODELS + "gemma/gemma_decoder_block.py",
    "query_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "key_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "value_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "output_projector": _MODELS + "t5/t5_multi_head_attention.py",
    "input_projector": _MODELS + "t5/t5_transformer_layer.py",
    "gate_projector": _MODELS + "t5/t5_transformer_layer.py",
}
_MATRICES = {
    "gemma3n/gemma3n_text_layers.py": (
        "mlp/gate_proj mlp/up_proj mlp/down_proj altup/modality_router altup/prediction_coefs altup/correction_coefs"
        " laurel/linear_left laurel/linear_right"
    ),
    "gemma3n/gemma3n_attention.py": (
        "attention/q_proj attention/k_proj attention/v_proj attention/o_proj attn/q_proj attn/k_proj attn/v_proj"
        " relative_position_embedding/pos_proj"
    ),
    "gemma3n/gemma3n_audio_layers.py": (
        "lconv1d/linear_start lconv1d/linear_end ffw_layer_start/ffw_layer_1 ffw_layer_end/ffw_layer_1 attention/post"
    ),
    "gemma3n/gemma3n_audio_encoder.py": "subsample_conv_projection/input_proj_linear",
    "gemma3n/gemma3n_text_decoder.py": "per_layer_input_gate per_layer_projection",
    "gemma3n/gemma3n_text_model.py": "per_layer_model_projection",
    "gemma3n/gemma3n_backbone.py": "*_embedder/embedding_projection",
    "gemma3/gemma3_vision_encoder.py": "vision_output_encoder/vision_input_projection",
    "gemma4/gemma4_vision_encoder.py": "patch_embedder/input_proj",
    "mixtral/mixtral_decoder.py": "sparse_feedforward_gate_dense",
    "qwen_moe/qwen_moe_decoder.py": "shared_expert_gate_dense",
    "qwen3_5_moe/qwen3_5_moe_decoder.py": "sparse_moe_block/router_gate sparse_moe_block/shared_expert_gate",
    "qwen3_5/qwen3_5_gated_delta_net.py": (
        "linear_attn/in_proj_a linear_attn/in_proj_b linear_attn/in_proj_qkv linear_attn/in_proj_z linear_attn/out_proj"
    ),
    "roformer_v2/roformer_v2_attention.py": "q_dense_layer k_dense_layer v_dense_layer o_dense_layer",
    "rwkv7/rwkv7_layer.py": (
        "RWKV_TIME_MIX/receptance RWKV_TIME_MIX/key RWKV_TIME_MIX/value RWKV_TIME_MIX/output_layer"
        " RWKV_CMIX/dense_k RWKV_CMIX/dense_v"
    ),
    "smollm3/smollm3_layers.py": "self_attn/q_proj self_attn/k_proj self_attn/v_proj",
    "swin_transformer/swin_transformer_layers.py": "downsample/reduction",
    "video_prism/video_prism_layers.py": "spatial_patching_and_embedding/patch_embedding",
}
_ATTRIBUTES = {
    "llama/llama_decoder.py": "_feedforward_gate_dense _feedforward_intermediate_dense _feedforward_output_dense",
    "mixtral/mixtral_decoder.py": "_sparse_feedforward_gate_dense",
    "gemma/gemma_decoder_block.py": "gating_ffw",
}
"""Attributes that hold layers: the paths of files in which the layers' own names are not stored."""
_CONVS = {
    "hgnetv2/hgnetv2_layers.py": (
        "*_squeeze_conv *_excite_conv embedder_stem1_conv embedder_stem2a_conv embedder_stem2b_conv"
    ),
    "efficientnet/mbconv.py": "*_project_conv *_expand_conv",
    "d_fine/d_fine_layers.py": "conv1_convolution lateral_conv_1_convolution",
    "vae/vae_layers.py": (
        "mid_attention/query_conv2d mid_attention/key_conv2d mid_attention/value_conv2d mid_attention/output_conv2d"
    ),
    "depth_anything/depth_anything_layers.py": (
        "residual_layer1/convolution1 fusion_stage/projection reassemble_stage/projection"
    ),
}
_COMMON_CONVS = {
    "vae/vae_layers.py": "conv1 encoder/output_projection",
    "hgnetv2/hgnetv2_layers.py": "*_downsample_conv *_1_conv",
}
_TABLES = _LAYERS + "token_and_position_embedding.py"
_XLNET = _MODELS + "xlnet/xlnet_content_and_query_embedding.py"
_POSITIONS = _MODELS + "bart/bart_backbone.py"

ROWS = (
    *(
        Row(f"{name}/vars/0", "kernel", "in *out", f"{_LAYER}{name}/vars/0", (768, 3072), source)
        for name, source in _DENSE.items()
    ),
    Row(
        "self_attention/output_dense/vars/0",
        "kernel",
        "in *out",
        _LAYER + "self_attention/output_dense/vars/0",
        (1024, 1024),
        _MODELS + "bloom/bloom_attention.py",
    ),
    Row(
        "self_attention_layer/attention_output/vars/0",
        "kernel",
        "in *out",
        _LAYER + "self_attention_layer/attention_output/vars/0",
        (768, 768),
        _MODELS + "deberta_v3/disentangled_self_attention.py",
    ),
    *(
        Row(
            f"{name}/vars/0",
            "kernel",
            "in *heads *size",
            f"xlnet_encoder_0/{name}/vars/0",
            (768, 12, 64),
            _MODELS + "xlnet/relative_attention.py",
        )
        for name in ("rel_attn/encoding", "relative_attention/_encoding_dense")
    ),
    *(
        Row(
            f"{name}/vars/0",
            "kernel",
            "in *out",
            f"model/{name.replace('*', 'vision')}/vars/0",
            (768, 3072),
            _MODELS + path,
        )
        for path, names in (*_MATRICES.items(), *_ATTRIBUTES.items())
        for name in names.split()
    ),
    *(
        Row(
            f"{name}/vars/0",
            "kernel",
            "h w in *out",
            f"model/{name.replace('*', 'stage')}/vars/0",
            (3, 3, 64, 128),
            _MODELS + path,
            common=layers is _COMMON_CONVS,
        )
        for layers in (_COMMON_CONVS, _CONVS)
        for path, names in layers.items()
        for name in names.split()
    ),
    Row(
        "*_dwconv2/vars/0",
        "kernel",
        "h w *in *multiplier",
        "block1b_/block1b_dwconv2/vars/0",
        (3, 3, 144, 1),
        _MODELS + "efficientnet/mbconv.py",
    ),
    Row(
        "self_attn/o_proj/vars/0",
        "kernel",
        "heads size *out",
        "transformer_layer_0/self_attn/o_proj/vars/0",
        (16, 128, 2048),
        _MODELS + "smollm3/smollm3_layers.py",
    ),
    Row(
        "denoising_class_embed/vars/0",
        "embedding",
        "*classes size",
        "denoising_class_embed/vars/0",
        (81, 256),
        _MODELS + "d_fine/d_fine_backbone.py",
    ),
    Row("token_embedding/vars/0", "embedding", "*tokens size", "token_embedding/vars/0", (50265, 768), _TABLES),
    Row("token_embedding/vars/1", "kernel", "in *tokens", "token_embedding/vars/1", (768, 50265), _TABLES),
    Row("position_embedding/vars/0", "embedding", "*positions size", "position_embedding/vars/0", (512, 768), _TABLES),
    Row(
        "*_position_embedding/vars/0",
        "embedding",
        "*positions size",
        "decoder_position_embedding/vars/0",
        (1024, 768),
        _POSITIONS,
    ),
    Row("word_embedding/vars/0", "embedding", "*tokens size", "word_embedding/vars/0", (32000, 768), _XLNET),
    Row("word_embed/vars/0", "embedding", "*tokens size", "embedding/word_embed/vars/0", (32000, 768), _XLNET),
    Row(
        "patch_embedding/vars/0",
        "kernel",
        "h w in *out",
        "vit_patching_and_embedding/patch_embedding/vars/0",
        (16, 16, 3, 768),
        _MODELS + "vit/vit_layers.py",
    ),
)
"""The rows of this convention."""
