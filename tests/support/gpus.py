"""Whether there is a GPU to test on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renorm_cli.norms.engines.pick import _GPU_NODES

NEEDS_GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not any(Path(node).exists() for node in _GPU_NODES), reason="this machine has no GPU device"),
)


def needs_gpu(test: Callable[..., Any]) -> Callable[..., Any]:
    """Skip a test where there is none."""
    for mark in NEEDS_GPU:
        test = mark(test)
    return test
