"""Names that the heads of TensorFlow's object detection API give to layers of TF-Slim."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_SOURCE = "tensorflow/models research/object_detection/predictors/"
_KERNEL = "h w in *out|in *out"

ROWS = (
    Row(
        "BoxEncodingPredictor/weights",
        "kernel",
        _KERNEL,
        "BoxPredictor_0/BoxEncodingPredictor/weights",
        (1, 1, 512, 12),
        _SOURCE + "heads/box_head.py",
    ),
    Row(
        "ClassPredictor/weights",
        "kernel",
        _KERNEL,
        "BoxPredictor_0/ClassPredictor/weights",
        (1, 1, 512, 273),
        _SOURCE + "heads/class_head.py",
    ),
    Row(
        "BoxPredictor/weights",
        "kernel",
        _KERNEL,
        "WeightSharedConvolutionalBoxPredictor/BoxPredictor/weights",
        (3, 3, 256, 24),
        _SOURCE + "heads/box_head.py",
    ),
    Row(
        "projection_1/weights",
        "kernel",
        "h w in *out",
        "FeatureExtractor/resnet_v1_50/fpn/projection_1/weights",
        (1, 1, 512, 256),
        "tensorflow/models research/object_detection/models/feature_map_generators.py",
    ),
    Row(
        "smoothing_1/weights",
        "kernel",
        "h w in *out",
        "FeatureExtractor/resnet_v1_50/fpn/smoothing_1/weights",
        (3, 3, 256, 256),
        "tensorflow/models research/object_detection/models/feature_map_generators.py",
    ),
)
"""The rows of this convention."""
