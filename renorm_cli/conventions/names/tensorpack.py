"""Names that the layers of tensorpack give.

Its W and b are those of other libraries too, which order the axes in other ways; only its averages are its own.
"""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_MODELS = "tensorpack/tensorpack tensorpack/models/"
_MASKS = "tensorpack/tensorpack examples/FasterRCNN/modeling/model_mrcnn.py"
_RESNET = "tensorpack/tensorpack examples/ResNet/resnet_model.py"
_BESIDE = ("b", "bn/beta", "bn/gamma")

ROWS = (
    Row("conv1/W", "kernel", "h w in *out", "group0/block0/conv1/W", (3, 3, 64, 64), _RESNET, True),
    Row("convshortcut/W", "kernel", "h w in *out", "group0/block0/convshortcut/W", (1, 1, 64, 256), _RESNET, True),
    Row("deconv/W", "kernel", "h w *out in", "maskrcnn/deconv/W", (2, 2, 256, 256), _MASKS, True),
    Row("W", "kernel", "h w in *out|in *out", "rpn/class/W", (1, 1, 1024, 15), _MODELS + "conv2d.py", True, _BESIDE),
    Row("W", "kernel", "h w *out in", "gen/grow/W", (4, 4, 32, 64), _MODELS + "conv2d.py", True, _BESIDE),
    Row("mean/EMA", "statistic", "n", "conv0/bn/mean/EMA", (64,), _MODELS + "batch_norm.py"),
    Row("variance/EMA", "statistic", "n", "conv0/bn/variance/EMA", (64,), _MODELS + "batch_norm.py"),
)
"""The rows of this convention."""
