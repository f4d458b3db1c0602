"""Bound the norms of the weights in a checkpoint file, and report them.

The tool is the command line, `renorm-ckpt` or `python -m renorm_cli`: apply, inspect, check, diff and suggest. For
Python there is `renorm_cli.tf`, the same bound while a model is trained: `renorm`, `MaxNorm` and `RenormCallback`.

Everything else is the house behind these. A folder imports only from the lines below it, and folders on one line never
import each other:

    cli/                                              parse, call, print, exit
    api/    tf.py                                     five verbs for files, three names for training
    run/   comparison/   gate/   suggestion.py   training/      do it
    plan/   norms/   formats/   render/               four wings that do not know each other
    conventions/   storage/                           what weights mean; where bytes lie
    model/                                            the nouns
    parallel/   text.py   errors.py                   the ground
"""

__version__ = "0.1.0"
