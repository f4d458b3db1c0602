"""Names of TensorFlow's own models and tutorials that are not the default names of its layers."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_TRANSFORMER = "tensorflow/models official/transformer/model/"
_RESNET = "tensorflow/models research/resnet/resnet_model.py"
_WORD2VEC = "tensorflow/models tutorials/embedding/word2vec.py"
_CIFAR = "tensorflow/models tutorials/image/cifar10/cifar10.py"
_PTB = "tensorflow/models tutorials/rnn/ptb/ptb_word_lm.py"

ROWS = (
    Row(
        "embedding_and_softmax/weights",
        "embedding",
        "*tokens size",
        "model/Transformer/embedding_shared_weights/embedding_and_softmax/weights",
        (33945, 512),
        _TRANSFORMER + "embedding_layer.py",
    ),
    Row(
        "layer_norm_scale",
        "scale",
        "n",
        "model/Transformer/encode/encoder_stack/layer_0/self_attention/layer_normalization/layer_norm_scale",
        (512,),
        _TRANSFORMER + "transformer.py",
    ),
    Row(
        "layer_norm_bias",
        "bias",
        "n",
        "model/Transformer/encode/encoder_stack/layer_0/self_attention/layer_normalization/layer_norm_bias",
        (512,),
        _TRANSFORMER + "transformer.py",
    ),
    Row("DW", "kernel", "h w in *out|in *out", "unit_1_0/sub1/conv1/DW", (3, 3, 16, 16), _RESNET),
    Row("emb", "embedding", "*tokens size", "emb", (253854, 200), _WORD2VEC, True),
    Row("sm_w_t", "kernel", "*tokens size", "sm_w_t", (253854, 200), _WORD2VEC),
    Row("local3/weights", "kernel", "in *out", "local3/weights", (2304, 384), _CIFAR),
    Row("softmax_linear/weights", "kernel", "in *out", "softmax_linear/weights", (192, 10), _CIFAR),
    Row("softmax_w", "kernel", "in *out", "Model/softmax_w", (200, 10000), _PTB, beside=("softmax_b",)),
    Row("softmax_b", "bias", "n", "Model/softmax_b", (10000,), _PTB),
)
"""The rows of this convention."""
