"""The cache of Hugging Face, in which the files of a snapshot are links: which of them may be read.

A folder `models--org--name` of it has `snapshots/REVISION/`, with links to the files in `blobs/`, which are called by
the hashes of their content. A blob may be a link to a file in the `blobs/` of the whole cache, in a folder called by
the first two digits of its hash. Source: file_download.py and utils/_shared_blobs.py of huggingface_hub 2.4.

A link that leads there is as safe as a file in its place: it leads to what was downloaded as such a file, and to
nothing else of the machine.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_SNAPSHOTS, _BLOBS = _KINDS = "snapshots", "blobs"
_REPOSITORY = re.compile(r"(?:models|datasets|spaces)--.+", re.DOTALL)
_SHARED = re.compile(r"[0-9a-f]{64}")
_MOST_LINKS = 40
"""Links that the system follows one after the other."""


def repository_of(path: Path) -> Path | None:
    """The folder of a repository in the cache, where `path` lies in a snapshot of it, or among its blobs.

    Links above `path` are followed, `path` itself is not. Folders of such names in any other folder are no cache.
    """
    if path.name in ("", ".."):
        path = Path(os.path.realpath(path))
    inside = Path(os.path.realpath(path.parent)) / path.name
    for above in reversed(inside.parents):  # a repository may hold folders of the same names
        if above.name not in _KINDS or _REPOSITORY.fullmatch(above.parent.name) is None:
            continue
        if all(above.with_name(kind).is_dir() for kind in _KINDS):
            return above.parent
    return None


def leads_in(path: Path) -> bool:
    """Whether a path lies in the cache, or a link there leads into it, over whatever other links. Raises OSError."""
    for _ in range(_MOST_LINKS):
        if repository_of(path) is not None or _is_shared(Path(os.path.realpath(path))):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


def _is_shared(real: Path) -> bool:
    """Whether a file is called as one in the blobs of the whole cache."""
    is_hash = _SHARED.fullmatch(real.name) is not None
    return is_hash and real.parent.name == real.name[:2] and real.parents[1].name == _BLOBS


def blob_of(path: Path) -> Path | None:
    """The file that a link in the cache stands for; None for any other path, and where that file is not there."""
    if not path.is_symlink() or (repository := repository_of(path)) is None:
        return None
    blob = Path(os.path.realpath(path))
    shared = repository.with_name(_BLOBS) / blob.name[:2]
    is_own = blob.parent == repository / _BLOBS
    is_shared = blob.parent == shared and _SHARED.fullmatch(blob.name) is not None
    return blob if (is_own or is_shared) and blob.is_file() else None


def name_of(folder: Path) -> str:
    """The name of a folder, also of one that is given as `.`; of a snapshot in the cache, that of its model."""
    real = Path(os.path.realpath(folder))
    repository = repository_of(real) if real.parent.name == _SNAPSHOTS else None
    return real.name if repository is None else repository.name.rpartition("--")[2]
