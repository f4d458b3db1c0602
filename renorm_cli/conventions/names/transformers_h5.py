"""Names that transformers' TensorFlow models have in `tf_model.h5`."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_MODELS = "huggingface/transformers src/transformers/models/"
_GPT2, _BERT = _MODELS + "gpt2/modeling_tf_gpt2.py", _MODELS + "bert/modeling_tf_bert.py"
_XLNET, _T5 = _MODELS + "xlnet/modeling_tf_xlnet.py", _MODELS + "t5/modeling_tf_t5.py"
_VIT, _OPENAI = _MODELS + "vit/modeling_tf_vit.py", _MODELS + "openai/modeling_tf_openai.py"
_CONVNEXT, _RESNET = _MODELS + "convnext/modeling_tf_convnext.py", _MODELS + "resnet/modeling_tf_resnet.py"
_SEGFORMER, _FUNNEL = _MODELS + "segformer/modeling_tf_segformer.py", _MODELS + "funnel/modeling_tf_funnel.py"
_WHISPER, _WAV = _MODELS + "whisper/modeling_tf_whisper.py", _MODELS + "wav2vec2/modeling_tf_wav2vec2.py"
_ATTENTION = "xlnet/layer_._0/rel_attn/"

ROWS = (
    Row("wte/weight", "embedding", "*tokens size", "transformer/wte/weight", (50257, 768), _GPT2),
    Row("wpe/embeddings", "embedding", "*positions size", "transformer/wpe/embeddings", (1024, 768), _GPT2),
    Row("c_attn/weight", "kernel", "n *3n", "transformer/h_._0/attn/c_attn/weight", (768, 2304), _GPT2),
    Row("c_proj/weight", "kernel", "in *out", "transformer/h_._0/attn/c_proj/weight", (768, 768), _GPT2),
    Row("c_fc/weight", "kernel", "in *out", "transformer/h_._0/mlp/c_fc/weight", (768, 3072), _GPT2),
    *(
        Row(f"{part}/bias", "bias", "1 n", f"transformer/h_._0/attn/{part}/bias", (1, 768), _GPT2)
        for part in ("c_attn", "c_proj", "c_fc")
    ),
    Row("tokens_embed/weight", "embedding", "*tokens size", "transformer/tokens_embed/weight", (40478, 768), _OPENAI),
    Row(
        "positions_embed/embeddings",
        "embedding",
        "*positions size",
        "transformer/positions_embed/embeddings",
        (512, 768),
        _OPENAI,
    ),
    Row(
        "word_embeddings/weight",
        "embedding",
        "*tokens size",
        "bert/embeddings/word_embeddings/weight",
        (30522, 768),
        _BERT,
    ),
    Row(
        "token_type_embeddings/embeddings",
        "embedding",
        "*tokens size",
        "bert/embeddings/token_type_embeddings/embeddings",
        (2, 768),
        _BERT,
    ),
    Row(
        "position_embeddings/embeddings",
        "embedding",
        "*positions size",
        "bert/embeddings/position_embeddings/embeddings",
        (512, 768),
        _BERT,
    ),
    *(
        Row(
            f"self/{part}/kernel",
            "kernel",
            "in *out",
            f"bert/encoder/layer_._0/attention/self/{part}/kernel",
            (768, 768),
            _BERT,
        )
        for part in ("query", "key", "value")
    ),
    *(
        Row(
            f"attention/{part}/kernel",
            "kernel",
            "in *out",
            f"vit/encoder/layer_._0/attention/attention/{part}/kernel",
            (768, 768),
            _VIT,
        )
        for part in ("query", "key", "value")
    ),
    Row("shared/weight", "embedding", "*tokens size", "shared/weight", (32128, 512), _T5),
    Row(
        "relative_attention_bias/embeddings",
        "parameter",
        "buckets heads",
        "encoder/block_._0/layer_._0/SelfAttention/relative_attention_bias/embeddings",
        (32, 8),
        _T5,
    ),
    Row("layer_norm/weight", "scale", "n", "encoder/block_._0/layer_._0/layer_norm/weight", (512,), _T5),
    Row("word_embedding/weight", "embedding", "*tokens size", "xlnet/word_embedding/weight", (32000, 768), _XLNET),
    *(
        Row(f"rel_attn/{part}", "kernel", "in *heads *size", _ATTENTION + part, (768, 12, 64), _XLNET)
        for part in "qkvr"
    ),
    Row("rel_attn/o", "kernel", "*out heads size", _ATTENTION + "o", (768, 12, 64), _XLNET),
    Row("rel_attn/seg_embed", "parameter", "2 heads size", _ATTENTION + "seg_embed", (2, 12, 64), _XLNET),
    Row("embeddings/cls_token", "parameter", "1 1 n", "vit/embeddings/cls_token", (1, 1, 768), _VIT),
    Row(
        "embeddings/position_embeddings",
        "parameter",
        "1 positions n",
        "vit/embeddings/position_embeddings",
        (1, 197, 768),
        _VIT,
    ),
    Row(
        "patch_embeddings/projection/kernel",
        "kernel",
        "h w in *out",
        "vit/embeddings/patch_embeddings/projection/kernel",
        (16, 16, 3, 768),
        _VIT,
    ),
    Row(
        "token_embedding/weight",
        "embedding",
        "*tokens size",
        "clip/text_model/embeddings/token_embedding/weight",
        (49408, 512),
        _MODELS + "clip/modeling_tf_clip.py",
    ),
    Row(
        "embed_tokens/weight",
        "embedding",
        "*tokens size",
        "model/decoder/embed_tokens/weight",
        (50272, 768),
        _MODELS + "opt/modeling_tf_opt.py",
    ),
    Row(
        "transformer/embeddings/weight",
        "embedding",
        "*tokens size",
        "transformer/embeddings/weight",
        (30145, 2048),
        _MODELS + "xlm/modeling_tf_xlm.py",
    ),
    Row(
        "position_embedding/embeddings",
        "embedding",
        "*positions size",
        "clip/text_model/embeddings/position_embedding/embeddings",
        (77, 512),
        _MODELS + "clip/modeling_tf_clip.py",
    ),
    Row(
        "embed_positions/weight",
        "embedding",
        "*positions size",
        "model/encoder/embed_positions/weight",
        (1500, 384),
        _WHISPER,
    ),
    Row(
        "rel_embeddings.weight",
        "embedding",
        "*positions size",
        "deberta/encoder/rel_embeddings.weight",
        (512, 768),
        _MODELS + "deberta_v2/modeling_tf_deberta_v2.py",
    ),
    Row(
        "relative_position_bias_table",
        "parameter",
        "positions heads",
        "swin/encoder/layers.0/blocks.0/attention/self/relative_position_bias_table",
        (169, 3),
        _MODELS + "swin/modeling_tf_swin.py",
    ),
    Row(
        "attention/seg_embed",
        "parameter",
        "2 heads size",
        "funnel/encoder/blocks_._0_._0/attention/seg_embed",
        (2, 12, 64),
        _FUNNEL,
    ),
    Row(
        "patch_embeddings/kernel",
        "kernel",
        "h w in *out",
        "convnext/embeddings/patch_embeddings/kernel",
        (4, 4, 3, 96),
        _CONVNEXT,
    ),
    Row(
        "downsampling_layer.1/kernel",
        "kernel",
        "h w in *out",
        "convnext/encoder/stages.1/downsampling_layer.1/kernel",
        (2, 2, 96, 192),
        _CONVNEXT,
    ),
    Row(
        "dwconv/kernel",
        "kernel",
        "h w 1 *out",
        "convnext/encoder/stages.0/layers.0/dwconv/kernel",
        (7, 7, 1, 96),
        _CONVNEXT,
    ),
    Row(
        "patch_embeddings.0/proj/kernel",
        "kernel",
        "h w in *out",
        "segformer/encoder/patch_embeddings.0/proj/kernel",
        (7, 7, 3, 32),
        _SEGFORMER,
    ),
    Row(
        "self/sr/kernel",
        "kernel",
        "h w in *out",
        "segformer/encoder/block.0.0/attention/self/sr/kernel",
        (8, 8, 32, 32),
        _SEGFORMER,
    ),
    Row(
        "embedder/convolution/kernel",
        "kernel",
        "h w in *out",
        "resnet/embedder/embedder/convolution/kernel",
        (7, 7, 3, 64),
        _RESNET,
    ),
    Row(
        "convolution/kernel",
        "kernel",
        "h w in *out",
        "resnet/encoder/stages.0/layers.0/layer.0/convolution/kernel",
        (3, 3, 64, 64),
        _RESNET,
        True,
    ),
    Row("encoder/conv1/kernel", "kernel", "w in *out", "model/encoder/conv1/kernel", (3, 80, 384), _WHISPER),
    Row(
        "conv_layers.0/conv/kernel",
        "kernel",
        "w in *out",
        "wav2vec2/feature_extractor/conv_layers.0/conv/kernel",
        (10, 1, 512),
        _WAV,
    ),
    Row(
        "embed_positions/embeddings",
        "embedding",
        "*positions size",
        "model/encoder/embed_positions/embeddings",
        (1026, 768),
        _MODELS + "bart/modeling_tf_bart.py",
    ),
    Row("final_logits_bias", "bias", "1 n", "final_logits_bias", (1, 50265), _MODELS + "bart/modeling_tf_bart.py"),
)
"""The rows of this convention."""
