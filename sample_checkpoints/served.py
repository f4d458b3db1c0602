"""A model of TensorFlow.js by the description of the format: no package is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

SERVED = {"words/embeddings": (0,), "edges/kernel": (2,), "head/kernel": (1,)}
"""The weights that should be constrained; a transposed convolution is (h, w, out, in), a dense kernel (in, out)."""
SERVED_SHAPES = {
    "words/embeddings": (60, 8),
    "edges/kernel": (3, 3, 6, 2),
    "edges/bias": (6,),
    "head/kernel": (8, 10),
    "head/bias": (10,),
}

_CLASSES = {"words": "Embedding", "edges": "Conv2DTranspose", "head": "Dense"}


def tfjs(arrays: Mapping[str, np.ndarray], stem: str) -> dict[str, bytes]:
    """The model and its two files, the end of the first of which is in the middle of a weight."""
    content = b"".join(array.astype("<f4").tobytes() for array in arrays.values())
    half = len(content) // 2 - 1
    names = [f"{stem}-group1-shard{number}of2.bin" for number in (1, 2)]
    weights = [{"name": name, "shape": list(array.shape), "dtype": "float32"} for name, array in arrays.items()]
    layers = [{"class_name": kind, "config": {"name": name}} for name, kind in _CLASSES.items()]
    config = {"class_name": "Sequential", "config": {"name": stem, "layers": layers}}
    told = {
        "format": "layers-model",
        "modelTopology": {"model_config": config},
        "weightsManifest": [{"paths": names, "weights": weights}],
    }
    return {f"{stem}.json": json.dumps(told).encode(), names[0]: content[:half], names[1]: content[half:]}
