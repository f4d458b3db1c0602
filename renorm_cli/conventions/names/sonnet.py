"""Names that the modules of Sonnet 1 and 2 give by default."""

from __future__ import annotations

from renorm_cli.conventions.names.row import ANY, Row

_ONE = "google-deepmind/sonnet sonnet/python/modules/"
_TWO = "google-deepmind/sonnet sonnet/src/"

ROWS = (
    Row("linear/w", "kernel", "in *out", "mlp/linear_0/w", (784, 256), _TWO + "linear.py"),
    Row("conv_1d/w", "kernel", "w in *out", "conv_1d/w", (3, 8, 8), _ONE + "conv.py"),
    Row("conv_2d/w", "kernel", "h w in *out", "conv_net_2d/conv_2d_0/w", (3, 3, 16, 16), _ONE + "conv.py"),
    Row(
        "conv_3d/w",
        "kernel",
        "t h w in *out",
        "RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w",
        (7, 7, 7, 3, 64),
        _ONE + "conv.py",
    ),
    Row("conv_2d_transpose/w", "kernel", "h w *out in", "conv_2d_transpose/w", (4, 4, 16, 16), _ONE + "conv.py"),
    Row("conv_3d_transpose/w", "kernel", "t h w *out in", "conv_3d_transpose/w", (3, 3, 3, 8, 8), _ONE + "conv.py"),
    Row("conv_2d_depthwise/w", "kernel", "h w *in *mult", "conv_2d_depthwise/w", (3, 3, 16, 2), _ONE + "conv.py"),
    Row("w_dw", "kernel", "h w *in *mult", "separable_conv2d/w_dw", (3, 3, 16, 1), _ONE + "conv.py"),
    Row("w_pw", "kernel", "1 1 in *out", "separable_conv2d/w_pw", (1, 1, 16, 32), _ONE + "conv.py"),
    Row("lstm/w_gates", "kernel", "in *4n", "lstm/w_gates", (384, 512), _ONE + "gated_rnn.py"),
    Row("embed/embeddings", "embedding", "*tokens size", "embed/embeddings", (1000, 32), _TWO + "embed.py"),
    *(
        Row(
            f"{name}/embeddings",
            "kernel",
            "size *codes",
            f"vqvae/{name}/embeddings",
            (64, 512),
            _TWO + "nets/vqvae.py",
        )
        for name in ("vector_quantizer", "vector_quantizer_ema")
    ),
    Row("conv1_d/w", "kernel", "w in *out", "conv1_d/w", (3, 8, 8), _TWO + "conv.py"),
    Row("conv2_d/w", "kernel", "h w in *out", "conv2_d/w", (3, 3, 16, 16), _TWO + "conv.py"),
    Row("conv3_d/w", "kernel", "t h w in *out", "conv3_d/w", (3, 3, 3, 8, 8), _TWO + "conv.py"),
    Row("conv1_d_transpose/w", "kernel", "w *out in", "conv1_d_transpose/w", (3, 8, 8), _TWO + "conv_transpose.py"),
    Row(
        "conv2_d_transpose/w",
        "kernel",
        "h w *out in",
        "conv2_d_transpose/w",
        (4, 4, 16, 16),
        _TWO + "conv_transpose.py",
    ),
    Row(
        "conv3_d_transpose/w",
        "kernel",
        "t h w *out in",
        "conv3_d_transpose/w",
        (3, 3, 3, 8, 8),
        _TWO + "conv_transpose.py",
    ),
    Row(
        "depthwise_conv2_d/w",
        "kernel",
        "h w *in *mult",
        "depthwise_conv2_d/w",
        (3, 3, 16, 2),
        _TWO + "depthwise_conv.py",
    ),
    Row("lstm/w_i", "kernel", "in *4n", "lstm/w_i", (64, 512), _TWO + "recurrent.py"),
    Row("lstm/w_h", "kernel", "n *4n", "lstm/w_h", (128, 512), _TWO + "recurrent.py"),
    Row("gru/w_i", "kernel", "in *3n", "gru/w_i", (64, 384), _TWO + "recurrent.py"),
    Row("gru/w_h", "kernel", "n *3n", "gru/w_h", (128, 384), _TWO + "recurrent.py"),
    Row("input_to_hidden/w", "kernel", "in *out", "vanilla_rnn/input_to_hidden/w", (64, 128), _TWO + "recurrent.py"),
    Row("hidden_to_hidden/w", "kernel", "n *n", "vanilla_rnn/hidden_to_hidden/w", (128, 128), _TWO + "recurrent.py"),
    Row(
        "batch_norm/moving_mean/average",
        "statistic",
        ANY,
        "batch_norm/moving_mean/average",
        (1, 1, 1, 4),
        _TWO + "batch_norm.py",
    ),
    Row(
        "batch_norm/moving_variance/average",
        "statistic",
        ANY,
        "batch_norm/moving_variance/average",
        (1, 1, 1, 4),
        _TWO + "batch_norm.py",
    ),
    Row(
        "batch_norm/moving_mean/hidden",
        "statistic",
        ANY,
        "batch_norm/moving_mean/hidden",
        (1, 1, 1, 4),
        _TWO + "moving_averages.py",
    ),
    Row(
        "batch_norm/moving_variance/hidden",
        "statistic",
        ANY,
        "batch_norm/moving_variance/hidden",
        (1, 1, 1, 4),
        _TWO + "moving_averages.py",
    ),
)
"""The rows of this convention."""
