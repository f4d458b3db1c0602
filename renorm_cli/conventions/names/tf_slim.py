"""Names that TF-Slim's layers give, and names that its networks give to them.

`weights` of a convolution are (rows, columns, in, out), of a transposed one (rows, columns, out, in). The scope tells
which; under a scope that is in no row, the vector beside the weights must.
"""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_LAYERS = "google-research/tf-slim tf_slim/layers/layers.py"
_NETS = "google-research/tf-slim tf_slim/nets/"
_SLIM = "tensorflow/models research/slim/nets/"
_DEEPLAB = "tensorflow/models research/deeplab/"

_CONV = "h w in *out|t h w in *out|w in *out"
_BOTH = "h w in *out|in *out"
_BESIDE = ("biases", "BatchNorm/beta", "BatchNorm/gamma", "BatchNorm/moving_mean")

ROWS = (
    *(
        Row(
            f"Conv2d_1{letter}_*/weights",
            "kernel",
            "h w in *out",
            f"InceptionV3/Conv2d_1{letter}_3x3/weights",
            (3, 3, 3, 32),
            _NETS + "inception_v3.py",
        )
        for letter in "abcdef"
    ),
    Row(
        "Conv2d_1x1/weights",
        "kernel",
        "h w in *out",
        "InceptionResnetV2/Repeat/block35_1/Conv2d_1x1/weights",
        (1, 1, 128, 320),
        _SLIM + "inception_resnet_v2.py",
    ),
    Row("Conv/weights", "kernel", _CONV, "MobilenetV2/Conv_1/weights", (1, 1, 320, 1280), _LAYERS),
    Row(
        "Conv2d/weights",
        "kernel",
        "h w in *out",
        "MobilenetV1/Conv2d_0/weights",
        (3, 3, 3, 32),
        _SLIM + "mobilenet_v1.py",
    ),
    Row("Conv2d_transpose/weights", "kernel", "h w *out in", "net/Conv2d_transpose_1/weights", (4, 4, 64, 64), _LAYERS),
    Row(
        "Conv3d_transpose/weights", "kernel", "t h w *out in", "net/Conv3d_transpose/weights", (3, 3, 3, 8, 8), _LAYERS
    ),
    Row("fully_connected/weights", "kernel", "in *out", "net/fully_connected_1/weights", (64, 10), _LAYERS),
    Row(
        "depthwise_weights",
        "kernel",
        "h w *in *mult",
        "MobilenetV1/Conv2d_1_depthwise/depthwise_weights",
        (3, 3, 32, 1),
        _LAYERS,
    ),
    Row(
        "pointwise_weights",
        "kernel",
        "1 1 in *out",
        "Xception/SeparableConv2d/pointwise_weights",
        (1, 1, 32, 64),
        _LAYERS,
    ),
    Row("conv1/weights", "kernel", _CONV + "|in *out", "vgg_16/conv1/conv1_1/weights", (3, 3, 3, 64), _NETS + "vgg.py"),
    Row("fc6/weights", "kernel", _BOTH, "vgg_16/fc6/weights", (7, 7, 512, 4096), _NETS + "vgg.py"),
    Row(
        "shortcut/weights",
        "kernel",
        "h w in *out",
        "resnet_v1_50/block1/unit_1/bottleneck_v1/shortcut/weights",
        (1, 1, 64, 256),
        _NETS + "resnet_v1.py",
    ),
    Row("logits/weights", "kernel", _BOTH, "resnet_v2_50/logits/weights", (1, 1, 2048, 1001), _NETS + "resnet_v2.py"),
    Row(
        "Logits/weights",
        "kernel",
        _BOTH,
        "InceptionResnetV2/Logits/Logits/weights",
        (1536, 1001),
        _SLIM + "inception_resnet_v2.py",
    ),
    Row(
        "expand/weights",
        "kernel",
        "h w in *out",
        "MobilenetV2/expanded_conv_3/expand/weights",
        (1, 1, 24, 144),
        _SLIM + "mobilenet/conv_blocks.py",
    ),
    Row(
        "project/weights",
        "kernel",
        "h w in *out",
        "MobilenetV2/expanded_conv_3/project/weights",
        (1, 1, 144, 32),
        _SLIM + "mobilenet/conv_blocks.py",
    ),
    Row(
        "1x1/weights",
        "kernel",
        "h w in *out",
        "cell_0/comb_iter_0/left/1x1/weights",
        (1, 1, 42, 42),
        _SLIM + "nasnet/nasnet_utils.py",
    ),
    Row(
        "path1_conv/weights",
        "kernel",
        "h w in *out",
        "cell_1/path1_conv/weights",
        (1, 1, 42, 42),
        _SLIM + "nasnet/nasnet_utils.py",
    ),
    Row(
        "aux_logits/proj/weights",
        "kernel",
        "h w in *out",
        "aux_11/aux_logits/proj/weights",
        (1, 1, 264, 128),
        _SLIM + "nasnet/nasnet.py",
    ),
    Row("FC/weights", "kernel", _BOTH, "final_layer/FC/weights", (1056, 1001), _SLIM + "nasnet/nasnet.py"),
    Row(
        "*_pointwise/weights",
        "kernel",
        "h w in *out",
        "xception_65/entry_flow/block1/unit_1/xception_module/separable_conv1_pointwise/weights",
        (1, 1, 64, 128),
        _DEEPLAB + "core/xception.py",
    ),
    Row("aspp0/weights", "kernel", "h w in *out", "aspp0/weights", (1, 1, 2048, 256), _DEEPLAB + "model.py"),
    Row(
        "image_pooling/weights",
        "kernel",
        "h w in *out",
        "image_pooling/weights",
        (1, 1, 2048, 256),
        _DEEPLAB + "model.py",
    ),
    Row(
        "concat_projection/weights",
        "kernel",
        "h w in *out",
        "concat_projection/weights",
        (1, 1, 1280, 256),
        _DEEPLAB + "model.py",
    ),
    Row(
        "decoder/feature_projection0/weights",
        "kernel",
        "h w in *out",
        "decoder/feature_projection0/weights",
        (1, 1, 256, 48),
        _DEEPLAB + "model.py",
    ),
    Row(
        "logits/semantic/weights",
        "kernel",
        "h w in *out",
        "logits/semantic/weights",
        (1, 1, 256, 21),
        _DEEPLAB + "model.py",
    ),
    Row(
        "weights",
        "kernel",
        "h w in *out|t h w in *out|in *out",
        "net/reduce/weights",
        (3, 3, 64, 96),
        _LAYERS,
        True,
        _BESIDE,
    ),
    Row("weights", "kernel", "h w *out in|t h w *out in", "net/grow/weights", (4, 4, 32, 64), _LAYERS, True, _BESIDE),
    Row("biases", "bias", "n", "MobilenetV1/Logits/Conv2d_1c_1x1/biases", (1001,), _LAYERS),
    Row("BatchNorm/beta", "bias", "n", "MobilenetV1/Conv2d_0/BatchNorm/beta", (32,), _LAYERS),
    Row("BatchNorm/gamma", "scale", "n", "MobilenetV1/Conv2d_0/BatchNorm/gamma", (32,), _LAYERS),
    Row("BatchNorm/moving_mean", "statistic", "n", "MobilenetV1/Conv2d_0/BatchNorm/moving_mean", (32,), _LAYERS),
    Row(
        "BatchNorm/moving_variance", "statistic", "n", "MobilenetV1/Conv2d_0/BatchNorm/moving_variance", (32,), _LAYERS
    ),
)
"""The rows of this convention."""
