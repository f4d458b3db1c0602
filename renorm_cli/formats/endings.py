"""The endings of file names by which Keras tells how a file is read (`keras.saving`, `Model.load_weights`)."""

from __future__ import annotations

from pathlib import Path

from renorm_cli.errors import OutputError, Way

_LEGACY = (".h5", ".hdf5")
_READ = {
    "keras-zip": (".keras",),
    "keras-h5": _LEGACY,
    "keras-h5-weights": _LEGACY,
    "keras-weights-h5": (".weights.h5",),
    "keras-weights-json": (".weights.json",),
    "tf-checkpoint": (),
    "tf-checkpoint-v1": (),
    "saved-model": (),
}
"""The endings under which Keras reads a format. Other HDF5 is not read by Keras, and may be called anything."""

_ENDINGS = sorted({ending for endings in _READ.values() for ending in endings}, key=len, reverse=True)


def check_ending(format: str, source: str, output: Path) -> None:
    """Raise OutputError where Keras would take an output of this format, by its name, for another format.

    The ending that the file named `source`, the input, has is always good enough.
    """
    ending, fitting = _ending(output.name), _READ.get(format)
    if fitting is None or not ending or ending in fitting or ending == _ending(source):
        return
    names = f"a name that ends in {' or '.join(fitting)}" if fitting else "a name without such an ending"
    raise OutputError(
        f"{str(output)!r}: Keras reads {ending} as another format than {format}", Way("output", f"give {names}")
    )


def _ending(name: str) -> str:
    return next((ending for ending in _ENDINGS if name.endswith(ending)), "")
