"""How much is tried: all of it in the whole suite, a part in the developer's loop."""

from __future__ import annotations

from hypothesis import settings


def examples(most: int) -> int:
    """The number of examples where the whole suite tries `most`; to be asked when a module of tests is imported."""
    return max(1, most * settings.default.max_examples // settings.get_profile("all").max_examples)
