"""The dtypes whose norms are bounded."""

from __future__ import annotations

FLOATS: dict[str, int] = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""The dtypes whose norms are bounded, and their bytes per element."""
