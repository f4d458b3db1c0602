"""Which files of a folder are a checkpoint's."""

from __future__ import annotations

from pathlib import Path

import pytest

from renorm_cli.errors import FormatError
from renorm_cli.formats.folders import files_in


def test_as_many_files_and_folders_are_listed_as_may_be_and_no_temporaries_of_ours(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / ".renorm-1-abcd-gone").mkdir()
    for name in ("b", "inner/a", ".renorm-1-abcd-out", ".renorm-1-abcd-gone/c"):
        (tmp_path / name).write_bytes(b"")
    assert files_in(tmp_path, "a checkpoint", 4) == [Path("b"), Path("inner/a")]
    with pytest.raises(FormatError, match="holds more than 3 files; a checkpoint was expected"):
        files_in(tmp_path, "a checkpoint", 3)
