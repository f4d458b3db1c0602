"""The figures of the zoo as lines: `PYTHONPATH=.:tests python -m zoo.table`, with "each" for one file a variant."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from support import graph_zoo

from zoo import live, ways
from zoo.judge import Score, score_by_bytes

ALL = slice(None)
STRUCTURES = ("functional", "held")


class Made(NamedTuple):
    """A way to save a model, and how that model is built and its layers named."""

    flavour: str
    structure: str
    names: str
    way: str


def in_formats(
    flavour: str, structure: str, names: str, folder: Path, some: slice = ALL
) -> Iterator[tuple[Made, Score]]:
    """The scores of one model of some variants, in every format that takes it."""
    model = ways.made(flavour, structure, names, some)
    truths = live.truths(model)
    for number, (way, write) in enumerate(ways.FLAVOURS[flavour].items()):
        if structure == "held" and way in ways.NEEDS_CONFIG:
            continue
        own = folder / f"{flavour}-{structure}-{names}-{number}-{some.start}"
        own.mkdir()
        yield Made(flavour, structure, names, way), score_by_bytes(write(model, own), truths)


def in_tensorflow_1(names: str, folder: Path, some: slice = ALL) -> Iterator[tuple[Made, Score]]:
    """The same of a checkpoint of TensorFlow 1, alone and beside its graph."""
    own = folder / f"tf1-{names}-{some.start}"
    own.mkdir()
    paths, truths = ways.tf_1(own, names, some)
    for way, path in paths.items():
        yield Made("TF1", "functional", names, way), score_by_bytes(path, truths)


def everything(folder: Path, *, each: bool) -> Iterator[tuple[Made, Score]]:
    import keras
    import tf_keras

    for package in (keras, tf_keras):
        count = len(graph_zoo.variants(package))
        for some in [slice(n, n + 1) for n in range(count)] if each else [ALL]:
            for names in live.NAMED:
                for structure in STRUCTURES:
                    yield from in_formats(package.__name__, structure, names, folder, some)
                if package is tf_keras:
                    yield from in_tensorflow_1(names, folder, some)


def main() -> None:
    each = "each" in sys.argv
    totals: dict[Made, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for made, found in everything(Path(folder), each=each):
            totals.setdefault(made, Counter()).update(found.counts)
            for fault in found.wrong:
                sys.stdout.write(f"WRONG {' '.join(made)}: {fault}\n")
            if not each:
                _tell(made, found.counts)
    for made, counts in totals.items() if each else ():
        _tell(made, counts)


def _tell(made: Made, counts: Mapping[str, int]) -> None:
    sys.stdout.write(f"{' '.join(made):45} {dict(sorted(counts.items()))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
