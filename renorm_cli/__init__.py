"""Bound the norms of the weights in a checkpoint file, and report them.

The tool is the command line, `renorm-ckpt` or `python -m renorm_cli`: apply, inspect, check, diff and suggest. For
Python there is `renorm_cli.tf`, the same bound while a model is trained: `renorm`, `MaxNorm` and `RenormCallback`.

Everything else is the house behind these. Imports point down only: `cli` asks `commands`, these make a `plan` from the
headers that `formats` reads and hand it to `run`, and what comes back is a `model.Report`, which `render` writes.
"""

__version__ = "0.1.0"
