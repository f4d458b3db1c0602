"""How much is tried: all of it in the whole suite, a part in the developer's loop."""

from __future__ import annotations

from hypothesis import settings

ALL = settings(deadline=None)  # how long an example takes says more of the machine
settings.register_profile("all", ALL)
settings.register_profile("loop", ALL, max_examples=25)
settings.load_profile("all")


def reduce() -> None:
    """Try a quarter from now on."""
    settings.load_profile("loop")


def examples(most: int) -> int:
    """The number of examples where the whole suite tries `most`; to be asked when a module of tests is imported."""
    return max(1, most * settings.default.max_examples // ALL.max_examples)
