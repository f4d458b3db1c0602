"""Names of WaveNet: filters are (width, in, out)."""

from __future__ import annotations

from renorm_cli.conventions.names.row import Row

_SOURCE = "ibab/tensorflow-wavenet wavenet/model.py"
_LAYER = "wavenet/dilated_stack/layer0/"

ROWS = (
    Row("causal_layer/filter", "kernel", "w in *out", "wavenet/causal_layer/filter", (2, 256, 32), _SOURCE),
    *(
        Row(f"layer0/{name}", "kernel", "w in *out", _LAYER + name, (2, 32, 32), _SOURCE)
        for name in ("filter", "gate", "dense", "skip", "gc_gate", "gc_filter")
    ),
    Row("postprocess1", "kernel", "1 in *out", "wavenet/postprocessing/postprocess1", (1, 512, 512), _SOURCE),
    Row("gc_embedding", "embedding", "*speakers size", "wavenet/embeddings/gc_embedding", (377, 32), _SOURCE),
)
"""The rows of this convention."""
