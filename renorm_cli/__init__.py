"""Bound the norms of the weights in a checkpoint file, and report them.

The tool is the command line, `renorm-ckpt` or `python -m renorm_cli`: apply, inspect, show, check, diff and suggest.
Python has the same verbs, `renorm_cli.inspect("model.h5")`, which return reports; `renorm_cli.open` reads a checkpoint
of any format. `renorm_cli.tf` has the same bound while a model is trained: `renorm`, `RenormConstraint` and
`RenormCallback`.

Everything else is the house behind these. A folder imports only from the lines below it, and folders on one line never
import each other:

    cli/                                              parse, call, print, exit
    fleet/                                            many checkpoints: found, shared out, kept on disk
    api/    tf.py                                     the verbs for files, three names for training
    run/   comparison/   gate/   suggestion.py   training/      do it
    plan/   norms/   formats/   render/               four wings that do not know each other
    conventions/   storage/                           what weights mean; where bytes lie
    model/   untrusted.py                             the nouns; values from outside, read strictly
    parallel/   text.py   errors.py   missing.py      the ground
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renorm_cli.api.difference import DiffReport
    from renorm_cli.api.report import Report
    from renorm_cli.api.suggestion import Suggestion
    from renorm_cli.api.verbs import apply, check, diff, inspect, open, show, suggest
    from renorm_cli.errors import (
        EngineError,
        FormatError,
        NonFiniteError,
        OutputError,
        RenormError,
        SelectionError,
        UsageError,
    )
    from renorm_cli.formats.base import Checkpoint
    from renorm_cli.model.report import Row
    from renorm_cli.model.variable import Variable

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "DiffReport",
    "EngineError",
    "FormatError",
    "NonFiniteError",
    "OutputError",
    "RenormError",
    "Report",
    "Row",
    "SelectionError",
    "Suggestion",
    "UsageError",
    "Variable",
    "apply",
    "check",
    "diff",
    "inspect",
    "open",
    "show",
    "suggest",
]

_ROOMS = {
    "api.difference": ("DiffReport",),
    "api.report": ("Report",),
    "api.suggestion": ("Suggestion",),
    "api.verbs": ("apply", "check", "diff", "inspect", "open", "show", "suggest"),
    "errors": (
        *("EngineError", "FormatError", "NonFiniteError", "OutputError"),
        *("RenormError", "SelectionError", "UsageError"),
    ),
    "formats.base": ("Checkpoint",),
    "model.report": ("Row",),
    "model.variable": ("Variable",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    """A public name, imported when it is first asked for: `import renorm_cli` imports no NumPy."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
