"""How much is told of the checkpoints below folders, as of unpacked packages: `PYTHONPATH=.. python -m zoo.packages`.

A line has the share of the elements of matrices whose role and unit axes are told, with the stored graph and without
it, and how many matrices the two tell of differently.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import renorm_cli
from renorm_cli.conventions.identify import identify
from renorm_cli.errors import RenormError
from renorm_cli.model.coverage import is_matrix
from renorm_cli.model.identity import BOUNDED, Identity
from renorm_cli.model.variable import Variable

ENDINGS = (".index", ".h5", ".hdf5", ".keras", ".pb")


def checkpoints(folder: Path) -> Iterator[Path]:
    for path in sorted(each for each in folder.rglob("*") if each.suffix in ENDINGS):
        if path.suffix == ".pb":
            yield path.parent
        elif path.parent.name != "variables":
            yield path.with_suffix("") if path.suffix == ".index" else path


def told(variables: Iterable[Variable]) -> dict[str, tuple[int, Identity | None]]:
    """The elements of each matrix by its key, and what it is, where that is told."""
    found: dict[str, tuple[int, Identity | None]] = {}
    for one in identify(tuple(variables)):
        known = one.identity
        if known is not None and is_matrix(one, known.role):
            certain = known.role in BOUNDED and known.axis_source != "guess"
            found[one.key] = one.elements, known if certain else None
    return found


def share(found: dict[str, tuple[int, Identity | None]]) -> float:
    return sum(size for size, known in found.values() if known) / max(sum(size for size, _ in found.values()), 1)


def main() -> None:
    for path in (path for folder in sys.argv[1:] for path in checkpoints(Path(folder))):
        try:
            with renorm_cli.open(path) as checkpoint:
                variables = checkpoint.variables
        except RenormError as error:
            sys.stdout.write(f"{path}: {error}\n")
            continue
        whole, bare = told(variables), told(replace(one, use=None) for one in variables)
        pairs = [(known, bare[key][1]) for key, (_, known) in whole.items() if key in bare]
        others = sum(one is not None and two is not None and one.unit_axes != two.unit_axes for one, two in pairs)
        left = [one.name for one in variables if one.key in whole and whole[one.key][1] is None]
        sys.stdout.write(
            f"{path}: {len(whole)} matrices, {share(whole):.1%} told, {share(bare):.1%} without the graph,"
            f" {others} told otherwise; open: {left}\n"
        )


if __name__ == "__main__":
    main()
