"""Names of StyleGAN: a transposed convolution keeps (rows, columns, in, out), which it turns when it is used."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_SOURCE = "NVlabs/stylegan training/networks_stylegan.py"

ROWS = (
    Row("Conv/weight", "kernel", "h w in *out", "G_synthesis/64x64/Conv/weight", (3, 3, 256, 256), _SOURCE),
    Row("Conv0/weight", "kernel", "h w in *out", "D/64x64/Conv0/weight", (3, 3, 256, 256), _SOURCE),
    Row("Conv0_up/weight", "kernel", "h w in *out", "G_synthesis/64x64/Conv0_up/weight", (3, 3, 512, 256), _SOURCE),
    Row("Conv1_down/weight", "kernel", "h w in *out", "D/64x64/Conv1_down/weight", (3, 3, 256, 512), _SOURCE),
    Row("ToRGB_lod0/weight", "kernel", "1 1 in *3", "G_synthesis/ToRGB_lod0/weight", (1, 1, 16, 3), _SOURCE),
    Row("FromRGB_lod0/weight", "kernel", "1 1 3 *out", "D/FromRGB_lod0/weight", (1, 1, 3, 16), _SOURCE),
    Row("Dense0/weight", "kernel", "in *out", "G_mapping/Dense0/weight", (512, 512), _SOURCE),
    Row("StyleMod/weight", "kernel", "in *out", "G_synthesis/64x64/Conv1/StyleMod/weight", (512, 1024), _SOURCE),
    Row("LabelConcat/weight", "kernel", "in *out", "G_mapping/LabelConcat/weight", (10, 512), _SOURCE),
    Row("Noise/weight", "scale", "n", "G_synthesis/64x64/Conv1/Noise/weight", (256,), _SOURCE),
    Row("noise0", "state", "1 1 h w", "G_synthesis/noise0", (1, 1, 4, 4), _SOURCE),
    Row("Const/const", "parameter", "1 n h w", "G_synthesis/4x4/Const/const", (1, 512, 4, 4), _SOURCE),
    Row("dlatent_avg", "statistic", "n", "dlatent_avg", (512,), _SOURCE),
)
"""The rows of this convention."""
