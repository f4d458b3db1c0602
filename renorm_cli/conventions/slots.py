"""What optimizers name the state that they keep of a weight, its slots: after the weight, behind it or before it.

Sources: tensorflow/python/training/optimizer.py and slot_creator.py ("dense/kernel/Adam_1"), tf_keras/src/optimizers
("Adam/m/dense/kernel") and its legacy ("Adam/dense/kernel/m"), mesh_tensorflow/optimize.py ("kernel_slot_v").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from renorm_cli.conventions.keras.layers import ROLES
from renorm_cli.model.variable import Variable

AVERAGE = "ExponentialMovingAverage"
"""The suffix that TF1 gives the moving average of a variable."""

_OPTIMIZERS = (
    "Adam|AdamW|AdaMax|Nadam|SGD|LAMB|LARS|Lion|Adafactor|Momentum|RMSProp|Adagrad|AdagradDA|ProximalAdagrad|Adadelta"
    "|Ftrl"
)
_OPTIMIZER = re.compile(rf"({_OPTIMIZERS})(_[0-9]+)?", re.IGNORECASE)
_BEHIND = re.compile(rf"({_OPTIMIZERS}|{AVERAGE}|(adam_|lamb_)?[mv]|vhat|rms|momentum|accumulator)(_[0-9]+)?")
"""Suffixes that the optimizers of TF1, and well-known others, append to the name of the variable."""
_IN_MESH = re.compile(r"_slot_(v|vr|vc|m)\Z")
"""Adafactor of Mesh TensorFlow; its statistics of rows and columns have shapes of their own."""

_BEFORE = frozenset(
    {
        "vhat",
        "rms",
        "mg",
        "momentum",
        "velocity",
        "velocity_hat",
        "accumulator",
        "average_gradient",
        "accumulated_grad",
        "accumulated_delta_var",
        "gradient_accumulator",
    }
)

"""Words that say what they are, whatever stands before them."""
_SHORT_BEFORE = frozenset(("m", "v", "u", "r", "c", "linear", "average"))
"""Words that a model can use too: they tell of state only behind the name of an optimizer, or as a pair."""
_PAIRS = {"m": "v", "v": "m"}

_COUNTER = re.compile(r"(beta[12]_power|global_step)(_[0-9]+)?")
_OUTER_SCOPES = 16


class Slots:
    """Finds variables that are named after another variable of the same shape.

    With `known_only`, what stands behind that name must be the name of a known slot; otherwise it may be anything but a
    weight's name.
    """

    def __init__(self, variables: Sequence[Variable], *, known_only: bool) -> None:
        self._shapes: dict[str, set[tuple[int, ...]]] = {}
        for variable in variables:
            self._shapes.setdefault(variable.name, set()).add(variable.shape)
        self._known_only = known_only

    def holds(self, variable: Variable) -> bool:
        """Whether the variable is a slot of another one, or an optimizer's counter."""
        base, _, last = variable.name.rpartition("/")
        if not variable.shape and _COUNTER.fullmatch(last):
            return True
        if self._is_before(variable):
            return True
        in_mesh = _IN_MESH.search(variable.name[-8:])
        if in_mesh is not None:
            return variable.name.removesuffix(in_mesh[0]) in self._shapes
        if not base or last in ROLES:
            return False
        if _BEHIND.fullmatch(last):
            return any(self._has(tail, variable) for tail in _tails(base))
        return not self._known_only and self._has(base, variable)

    def _is_before(self, variable: Variable) -> bool:
        """Whether the name is that of a variable behind a prefix and the name of a slot, "Adam/m/dense/kernel"."""
        *outer, rest = variable.name.split("/", _OUTER_SCOPES)
        for place, word in enumerate(outer[1:], 1):
            if word not in _BEFORE and word not in _SHORT_BEFORE:
                continue
            name = "/".join((*outer[place + 1 :], rest))
            if self._has(name, variable) and (word in _BEFORE or self._tells(outer[:place], word, name, variable)):
                return True
        return False

    def _tells(self, prefix: Sequence[str], word: str, name: str, variable: Variable) -> bool:
        if _OPTIMIZER.fullmatch(prefix[-1]):
            return True
        other = _PAIRS.get(word)
        return other is not None and self._has("/".join((*prefix, other, name)), variable)

    def _has(self, name: str, variable: Variable) -> bool:
        return variable.shape in self._shapes.get(name, ())


def _tails(path: str) -> Iterator[str]:
    """The path, then the path without its outer scopes: the name of a slot made in a scope begins with that scope."""
    yield path
    for _ in range(_OUTER_SCOPES):
        _, slash, path = path.partition("/")
        if not slash:
            return
        yield path
