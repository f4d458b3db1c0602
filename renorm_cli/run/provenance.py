"""Where a report comes from: when it was made, by which versions, of which bytes."""

from __future__ import annotations

import sys
import time

from renorm_cli.formats.base import Checkpoint
from renorm_cli.model.report import Provenance
from renorm_cli.storage.files import read_parts

HASHED = 16 << 20
"""Bytes of a checkpoint up to which it is read whole for its SHA-256; of larger ones only the weights are read."""


def provenance_of(source: Checkpoint, started: float, *, sha256: bool) -> Provenance:
    """The provenance of a run over an open checkpoint that `started` at that time of the monotonic clock.

    With `sha256`, a checkpoint of one file of at most HASHED bytes is read whole.
    Raises FormatError where the file cannot be read.
    """
    clock = time.gmtime(time.time() - (time.monotonic() - started))
    versions = {"python": sys.version.split()[0]}
    for name in ("numpy", "tensorflow"):
        version = getattr(sys.modules.get(name), "__version__", None)  # missing while another thread imports it
        if version is not None:
            versions[name] = version
    return Provenance(
        time.strftime("%Y-%m-%dT%H:%M:%SZ", clock), tuple(versions.items()), _sha256(source) if sha256 else None
    )


def _sha256(source: Checkpoint) -> str | None:
    if len(source.files) != 1 or source.files[0].size > HASHED:
        return None
    import hashlib

    (file,) = source.files
    found = hashlib.sha256()
    for part in read_parts(file, 0, file.size):
        found.update(part)
    return found.hexdigest()
