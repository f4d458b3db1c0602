"""A folder as the cache of Hugging Face has it, which huggingface_hub 2.4 lays out so."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "models--org--mine"


def cached(folder: Path, cache: Path, *, shared: bool = False) -> Path:
    """Move the files of a folder into a new `cache` as blobs; returns the snapshot that has links to them.

    If they are `shared`, the blobs of the repository are links to those of the whole cache.
    """
    repository = cache / REPOSITORY
    snapshot = repository / "snapshots" / REVISION
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        blob, link = repository / "blobs" / digest, snapshot / path.relative_to(folder)
        stored = cache / "blobs" / digest[:2] / digest if shared else blob
        for one in (blob, link, stored):
            one.parent.mkdir(parents=True, exist_ok=True)
        path.replace(stored)
        if shared and not blob.is_symlink():
            blob.symlink_to(os.path.relpath(stored, blob.parent))
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot
