"""From the headers of two checkpoints to a comparison: which variables are a pair, and how a pair is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from renorm_cli.comparison.pairs import Pair, by_key, by_name, have_common_keys
from renorm_cli.conventions.identify import identify, role_of
from renorm_cli.errors import SelectionError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.numbers import item_bytes
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import Role
from renorm_cli.model.plan import Step
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.plan.selection import names
from renorm_cli.text import counted

_NO_WEIGHTS: frozenset[Role] = frozenset({"optimizer", "state"})
"""Roles of what is stored beside the weights of a model."""


@dataclass(frozen=True, slots=True)
class Task:
    """A pair of variables to compare; `step` is how it is constrained, `left_out` why it is not compared.

    `copies` are the keys of stored copies of the pair, of which the outcome holds too.
    """

    pair: Pair
    step: Step | None = None
    left_out: str | None = None
    copies: tuple[str, ...] = ()

    def is_copy_of(self, other: Task) -> bool:
        """Whether both pairs are of stored copies of one weight, and alike in all else."""
        one, two = self.pair, other.pair
        if one.before is None or one.after is None or two.before is None or two.after is None:
            return False
        return (
            two.before.key in one.before.copies
            and two.after.key in (one.after.key, *one.after.copies)
            and (one.doubt, one.is_renamed, self.left_out) == (two.doubt, two.is_renamed, other.left_out)
            and _asked(self.step) == _asked(other.step)
        )

    @property
    def nbytes(self) -> int:
        """Bytes to read."""
        if self.left_out is not None or self.pair.before is None or self.pair.after is None:
            return 0
        return sum((item_bytes(one.dtype) or 0) * one.elements for one in (self.pair.before, self.pair.after))


def _asked(step: Step | None) -> object:
    return step and (step.role, step.unit_axes, step.constraint)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The plan of a comparison: which variables are a pair, which are compared, which are constrained and how."""

    matched_by: Literal["key", "name"]
    constraint: Constraint
    tasks: tuple[Task, ...]

    @property
    def nbytes(self) -> int:
        return sum(task.nbytes for task in self.tasks)


def plan_comparison(
    before: Checkpoint,
    after: Checkpoint,
    bound: OneBound,
    selection: Selection,
    *,
    expected: bool,
    weights_only: bool = False,
    identified: tuple[Sequence[Variable], Sequence[Variable]] | None = None,
) -> Comparison:
    """Match the variables of two checkpoints: by their keys if the format is the same and keys are, else by names.

    `identified` are the variables of both with their identities, where another file has a say in these.

    The selection says which variables are constrained, by default kernels and embeddings. It also says which are
    compared at all, by default all of them, with `weights_only` without what an optimizer keeps and other state; but
    where a renorm is `expected`, all are compared: what is not selected must be identical then. Raises SelectionError
    where the two have nothing in common, or patterns or axes do not fit.
    """
    keyed = before.format == after.format and have_common_keys(before.variables, after.variables)
    pairs = (by_key if keyed else by_name)(*(identified or (identify(before.variables), identify(after.variables))))
    if not any(pair.before is not None and pair.after is not None for pair in pairs):
        label = "key" if keyed else "name"
        raise SelectionError(
            f"none of the {counted(len(before.variables), 'variable')} of {str(before.path)!r} has the {label}"
            f" of one of the {len(after.variables)} of {str(after.path)!r}"
        )
    subjects = _subjects(pairs, proof=expected)
    named = names(subjects, selection)
    steps = _steps(subjects, bound, selection)
    tasks = []
    for pair, subject in zip(pairs, subjects, strict=True):
        if not expected and named.leaves(subject.key):
            tasks.append(Task(pair, left_out="not selected"))
        elif weights_only and role_of(subject) in _NO_WEIGHTS:
            tasks.append(Task(pair, left_out="no weight of the model"))
        else:
            tasks.append(Task(pair, steps.get(subject.key)))
    return Comparison("key" if keyed else "name", bound.constraint, _once(tasks))


def _once(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Pairs of stored copies of one weight as one task: their bytes are equal on either side."""
    first: dict[str, Task] = {}
    copies: dict[str, list[str]] = {}
    for at, task in enumerate(tasks):
        one = task.pair.before
        known = (first[key] for key in (one.copies if one is not None else ()) if key in first)
        same = next((other for other in known if task.is_copy_of(other)), None)
        if same is None or one is None:
            first[one.key if one is not None else f"{at} (after)"] = task
        elif same.pair.before is not None:
            copies.setdefault(same.pair.before.key, []).append(one.key)
    return tuple(replace(task, copies=tuple(copies.get(key, ()))) for key, task in first.items())


def _subjects(pairs: Sequence[Pair], *, proof: bool) -> tuple[Variable, ...]:
    """One variable for each pair, with keys that are unique among both checkpoints."""
    subjects: dict[str, Variable] = {}
    for pair in pairs:
        subject = pair.subject(proof=proof)
        while subject.key in subjects:
            subject = replace(subject, key=f"{subject.key} (after)")
        subjects[subject.key] = subject
    return tuple(subjects.values())


def _steps(subjects: Sequence[Variable], bound: OneBound, selection: Selection) -> Mapping[str, Step]:
    if not any(subject.dtype in FLOATS for subject in subjects):
        return {}
    plan = make_plan(subjects, (), Request(bound, selection, must_act=False))
    return {one.key: replace(step, variable=one, copies=()) for step in plan.steps for one in step.stored}
