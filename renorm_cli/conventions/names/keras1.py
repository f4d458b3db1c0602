"""Names that Keras 1 gives: the layer's name, and W, U or b.

Kernels of convolutions are (rows, columns, in, out) or, in Theano's order, (out, in, rows, columns), and the file need
not say which; the bias beside the kernel does, where only one of the two fits.
"""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_LAYERS = "keras-team/keras keras/layers/"
_CONV = _LAYERS + "convolutional.py"
_BIAS = ("*_b",)

ROWS = (
    Row("*_W", "kernel", "in *out", "fc1/fc1_W", (4096, 4096), _LAYERS + "core.py", beside=_BIAS),
    Row("*_W", "kernel", "h w in *out", "features/features_W", (3, 3, 8, 16), _CONV, beside=_BIAS),
    Row("*_W", "kernel", "*out in h w", "features/features_W", (16, 8, 3, 3), _CONV, beside=_BIAS),
    Row("*_W", "kernel", "h w *out in", "features/features_W", (3, 3, 8, 16), _CONV, beside=_BIAS),
    Row(
        "*_conv1_W",
        "kernel",
        "h w in *out",
        "block1_conv2/block1_conv2_W_1",
        (3, 3, 64, 64),
        "fchollet/deep-learning-models vgg16.py",
        beside=_BIAS,
    ),
    Row(
        "*_conv1_W",
        "kernel",
        "*out in h w",
        "block1_conv1/block1_conv1_W_1",
        (64, 3, 3, 3),
        "fchollet/deep-learning-models vgg16.py",
        beside=_BIAS,
    ),
    Row(
        "convolution2d_1_W",
        "kernel",
        "h w in *out",
        "convolution2d_2/convolution2d_2_W",
        (3, 3, 32, 32),
        _CONV,
        beside=_BIAS,
    ),
    Row(
        "convolution2d_1_W",
        "kernel",
        "*out in h w",
        "convolution2d_2/convolution2d_2_W",
        (32, 3, 3, 3),
        _CONV,
        beside=_BIAS,
    ),
    Row(
        "embedding_1_W",
        "embedding",
        "*tokens size",
        "embedding_1/embedding_1_W",
        (20000, 128),
        _LAYERS + "embeddings.py",
    ),
    *(
        Row(
            f"*_W_{gate}",
            "kernel",
            "in *out",
            f"lstm_1/lstm_1_W_{gate}",
            (128, 64),
            _LAYERS + "recurrent.py",
            beside=(f"*_b_{gate}",),
        )
        for gate in "icfozrh"
    ),
    *(
        Row(
            f"*_U_{gate}",
            "kernel",
            "n *n",
            f"lstm_1/lstm_1_U_{gate}",
            (64, 64),
            _LAYERS + "recurrent.py",
            beside=(f"*_b_{gate}",),
        )
        for gate in "icfozrh"
    ),
    *(
        Row(f"*_b_{gate}", "bias", "n", f"lstm_1/lstm_1_b_{gate}", (64,), _LAYERS + "recurrent.py")
        for gate in "icfozrh"
    ),
    Row("*_b", "bias", "n", "fc1/fc1_b", (4096,), _LAYERS + "core.py", True),
    Row("*_running_mean", "statistic", "n", "bn_conv1/bn_conv1_running_mean", (64,), _LAYERS + "normalization.py"),
    Row("*_running_std", "statistic", "n", "bn_conv1/bn_conv1_running_std", (64,), _LAYERS + "normalization.py"),
)
"""The rows of this convention."""
