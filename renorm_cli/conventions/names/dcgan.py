"""Names of DCGAN: layers of the discriminator are called `_conv`, the generator's are transposed convolutions."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_OPS, _MODEL = "carpedm20/DCGAN-tensorflow ops.py", "carpedm20/DCGAN-tensorflow model.py"

ROWS = (
    Row("discriminator/d_h1_conv/w", "kernel", "h w in *out", "discriminator/d_h1_conv/w", (5, 5, 64, 128), _MODEL),
    Row("generator/g_h1/w", "kernel", "h w *out in", "generator/g_h1/w", (5, 5, 256, 512), _MODEL),
    Row("g_h0_lin/Matrix", "kernel", "in *out", "generator/g_h0_lin/Matrix", (100, 8192), _OPS),
    Row("d_h4_lin/Matrix", "kernel", "in *out", "discriminator/d_h4_lin/Matrix", (8192, 1), _OPS),
)
"""The rows of this convention."""
