"""How often the axes that are told of kernels and embeddings are those of their layers: right, open or wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from renorm_cli.conventions.graph.uses import Use
from renorm_cli.conventions.identify import identify
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.formats.tensorflow.graph_uses import GraphUses, uses_in_meta_graph, uses_in_saved_model
from renorm_cli.model.blocks import partition
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import BOUNDED
from renorm_cli.model.variable import Variable
from support import tf_zoo
from support.graph_zoo import Truth, Truths


class Score(NamedTuple):
    """The weights, by the worst that is told of any of their copies."""

    right: list[Truth]
    open: list[tuple[Truth, object]]
    wrong: list[tuple[Truth, object]]

    @property
    def figures(self) -> tuple[int, int, int]:
        return len(self.right), len(self.open), len(self.wrong)

    def __str__(self) -> str:
        right, open_, wrong = self.figures
        return f"{right} right, {open_} open, {wrong} wrong"


RIGHT, OPEN, WRONG = "right", "open", "wrong"


def of_the_graph(path: Path, truths: Truths) -> Score:
    """Of what the graph alone tells."""
    told = told_by_the_graph(path).uses
    values = {key: value.tobytes() for key, value in tf_zoo.values_of(path).items()}
    return _score(
        truths, ((stored, told.get(key), _of_use(told.get(key), truths.get(stored))) for key, stored in values.items())
    )


def told_by_the_graph(path: Path) -> GraphUses:
    bundle, objects = tf_zoo.bundle_of(tf_zoo.prefix_of(path))
    if path.is_dir():
        return uses_in_saved_model((path / "saved_model.pb").read_bytes(), "shown", objects, bundle.shapes)
    return uses_in_meta_graph(path.with_suffix(".meta").read_bytes(), "shown", bundle.shapes)


def of_the_program(path: Path, truths: Truths) -> Score:
    """Of what the program makes of all that the file tells."""
    checkpoint = open_checkpoint(path)
    found = []
    for variable in identify(checkpoint.variables):
        if variable.dtype in FLOATS and len(variable.shape) < 20 and variable.elements:
            (whole,) = partition(variable.shape, variable.elements)
            stored = checkpoint.read(variable, whole).tobytes()
            found.append((stored, variable, _of_identity(variable, truths.get(stored))))
    checkpoint.close()
    return _score(truths, found)


def _score(truths: Truths, told: Iterable[tuple[bytes, object, str]]) -> Score:
    worst: dict[bytes, tuple[str, object]] = {}
    order = (RIGHT, OPEN, WRONG)
    for stored, what, outcome in told:
        if stored in truths and (stored not in worst or order.index(worst[stored][0]) < order.index(outcome)):
            worst[stored] = outcome, what
    score = Score([], [], [])
    for stored, truth in truths.items():
        outcome, what = worst.get(stored, (OPEN, "not in the file"))
        if outcome == WRONG:
            score.wrong.append((truth, what))
        elif truth.role in BOUNDED and truth.units is not None:
            if outcome == RIGHT:
                score.right.append(truth)
            else:
                score.open.append((truth, what))
    return score


def _of_use(use: Use | None, truth: Truth | None) -> str:
    if use is None or truth is None or use.state != "told":
        return OPEN
    return _judged(use.role or "unknown", use.unit_axes or (), truth)


def _of_identity(variable: Variable, truth: Truth | None) -> str:
    identity = variable.identity
    if identity is None or truth is None or identity.role == "unknown":
        return OPEN
    if identity.role in BOUNDED and identity.axis_source == "guess":
        return OPEN
    return _judged(identity.role, identity.unit_axes, truth)


def _judged(role: str, units: tuple[int, ...], truth: Truth) -> str:
    """Weights that are no kernels are wrong only as a kernel; vectors have no units that matter."""
    if truth.role not in BOUNDED or truth.units is None:
        return WRONG if role in BOUNDED and len(truth.shape) > 1 and max(truth.shape) > 1 else RIGHT
    if role not in BOUNDED or _large(units, truth) != _large(truth.units, truth):
        return WRONG
    return RIGHT if role == truth.role else OPEN


def _large(axes: tuple[int, ...], truth: Truth) -> list[int]:
    """Axes of size 1 may name units or not."""
    return [axis for axis in axes if truth.shape[axis] != 1]
