"""What the names of a file's variables mean, by the conventions that its names follow.

Conventions use the same words, so names are weighed together: a name that only one convention has is a vote for it, a
common name tells nothing where its convention has no vote, and where conventions tell different things, the one with
the most votes is heard. If none has the most, no one knows, and nothing is claimed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from renorm_cli.conventions.names import (
    baselines,
    bert,
    bilm,
    dcgan,
    gpt2,
    keras1,
    kerashub,
    nmt,
    object_detection,
    official_models,
    sonnet,
    stylegan,
    t5_mesh,
    tensor2tensor,
    tensorflow1,
    tensorpack,
    tf_slim,
    transformers_h5,
    wavenet,
    xlnet,
)
from renorm_cli.conventions.names.row import Row, canonical, shared_axes, unit_axes
from renorm_cli.model.identity import BOUNDED, Claim, Role
from renorm_cli.model.variable import Variable

CONVENTIONS: dict[str, tuple[Row, ...]] = {
    "TF-Slim": tf_slim.ROWS,
    "TensorFlow object detection": object_detection.ROWS,
    "TensorFlow 1": tensorflow1.ROWS,
    "BERT": bert.ROWS,
    "XLNet": xlnet.ROWS,
    "GPT-2": gpt2.ROWS,
    "T5": t5_mesh.ROWS,
    "tensor2tensor": tensor2tensor.ROWS,
    "TensorFlow official models": official_models.ROWS,
    "nmt": nmt.ROWS,
    "ELMo": bilm.ROWS,
    "Sonnet": sonnet.ROWS,
    "DCGAN": dcgan.ROWS,
    "StyleGAN": stylegan.ROWS,
    "WaveNet": wavenet.ROWS,
    "baselines": baselines.ROWS,
    "tensorpack": tensorpack.ROWS,
    "Keras 1": keras1.ROWS,
    "KerasHub": kerashub.ROWS,
    "transformers": transformers_h5.ROWS,
}
"""The rows of each convention, by what people call it."""

Axes = tuple[int, ...]

_MOST_PARTS = 6
_LONGEST_PART = 120
_NUMBER = re.compile(r"(?:_[0-9]{1,9})?\Z")


class Tree:
    """The rows whose endings lead here, read from the last part, and the parts that may stand before."""

    __slots__ = ("before", "rows")

    def __init__(self) -> None:
        self.before: dict[str, Tree] = {}
        self.rows: list[tuple[str, Row]] = []


class _Reading(NamedTuple):
    """What one convention says of a variable by one row; no axes where its role has none."""

    convention: str
    row: Row
    axes: Axes | None

    @property
    def meaning(self) -> tuple[Role, Axes | None]:
        return self.row.role, self.axes


def claims(variables: Sequence[Variable], tree: Tree | None = None) -> dict[str, Claim]:
    """What the names tell of the variables of one file, by key; nothing of those that the file itself tells of."""
    told: dict[str, list[_Reading]] = {}
    tree = tree or all_rows()
    vectors = {variable.name: variable.shape[0] for variable in variables if len(variable.shape) == 1}
    votes: Counter[str] = Counter()
    for variable in variables:
        if variable.state is None and (found := list(_readings(tree, variable, vectors))):
            told[variable.key] = found
            own = {reading.convention for reading in found if not reading.row.common}
            votes.update(own if len(own) == 1 else ())
    heard = ((key, _heard(found, votes)) for key, found in told.items())
    return {key: _claim(reading) for key, reading in heard if reading is not None}


def _heard(found: Sequence[_Reading], votes: Mapping[str, int]) -> _Reading | None:
    """The reading to believe; None where several are as good and do not say the same."""
    known = [reading for reading in found if not reading.row.common]
    known = known or [reading for reading in found if votes.get(reading.convention)]
    if len({reading.meaning for reading in known}) > 1:
        most = max(votes.get(reading.convention, 0) for reading in known)
        known = [reading for reading in known if votes.get(reading.convention, 0) == most]
    return known[0] if len({reading.meaning for reading in known}) == 1 else None


def _claim(reading: _Reading) -> Claim:
    told = f"the name {reading.row.ending!r} of {reading.convention}"
    return Claim("name", reading.row.role, reading.axes, told, shared_axes(reading.row, reading.axes))


def _readings(tree: Tree, variable: Variable, vectors: Mapping[str, int]) -> Iterator[_Reading]:
    """What each convention says: by those of its rows that fit, of those with the longest and most literal ending."""
    nearest: dict[str, tuple[tuple[int, int], list[Row]]] = {}
    for place, convention, row in _matches(tree, variable.name):
        best = nearest.get(convention)
        if best is None or place > best[0]:
            nearest[convention] = place, [row]
        elif place == best[0]:
            best[1].append(row)
    for convention, (_, rows) in nearest.items():
        for row in rows:
            if row.role == "embedding" and _is_biased(variable.name, vectors):
                continue
            beside = _beside(row, variable.name, vectors) if row.beside else ()
            axes = unit_axes(row, variable.shape, beside)
            if axes is not None:
                yield _Reading(convention, row, axes if row.role in BOUNDED else None)


def _is_biased(name: str, vectors: Mapping[str, int]) -> bool:
    """Whether a vector follows the array in a layer of Keras 3: a table has none, and a projection its bias."""
    return name.endswith("/vars/0") and f"{name.removesuffix('0')}1" in vectors


def _matches(tree: Tree, name: str) -> Iterator[tuple[tuple[int, int], str, Row]]:
    """The rows whose ending the name has, each with the number of the ending's parts and how literal these are."""
    nodes = [(tree, 0)]
    for number, part in enumerate(reversed(name.rsplit("/", _MOST_PARTS)[-_MOST_PARTS:]), start=1):
        ways = _ways(part)
        nodes = [
            (after, literal + words)
            for node, literal in nodes
            for way, words in ways
            if (after := node.before.get(way)) is not None
        ]
        if not nodes:
            return
        for node, literal in nodes:
            for convention, row in node.rows:
                yield (number, literal), convention, row


def _ways(part: str) -> Iterable[tuple[str, int]]:
    """How an ending can write a part of a name, with the number of words that are literal then; 3 where all are."""
    return _short_ways(part) if len(part) <= _LONGEST_PART else (("*", 0),)


@lru_cache(maxsize=1024)
def _short_ways(part: str) -> Iterable[tuple[str, int]]:
    text = canonical(part)
    words = text.split("_")
    ways = [(text, 3), ("*", 0)]
    for count in (1, 2):
        if len(words) > count:
            ways += [(f"*_{'_'.join(words[-count:])}", count), (f"{'_'.join(words[:count])}_*", count)]
    return ways


def _beside(row: Row, name: str, vectors: Mapping[str, int]) -> Iterator[int]:
    """The lengths of the vectors that the row has beside a weight of this name.

    Of "conv_W_1" that is "conv_b_1" for "*_b", and of "weights_1" it is "biases_1" for "biases".
    """
    folder, slash, last = name.rpartition("/")
    words = _NUMBER.sub("", last)
    number = last[len(words) :]
    for other in row.beside:
        if other.startswith("*_"):
            start = words.rsplit("_", other.count("_"))[0]
            other = f"{start}{other[1:]}{number}"
        elif "/" not in other:
            other += number
        if (length := vectors.get(f"{folder}{slash}{other}")) is not None:
            yield length


@cache
def all_rows() -> Tree:
    """The rows of all conventions."""
    return tree_of((name, rows) for name, rows in CONVENTIONS.items())


def tree_of(conventions: Iterable[tuple[str, Iterable[Row]]]) -> Tree:
    """The endings of all rows as one tree, so that a name costs the same whatever the number of rows."""
    tree = Tree()
    for name, rows in conventions:
        for row in rows:
            node = tree
            for part in reversed(row.ending.split("/")):
                node = node.before.setdefault(canonical(part), Tree())
            node.rows.append((name, row))
    return tree
