"""What a tensor is made of, as far as it matters: how the axes of a weight lie in it.

A weight of shape (3, 4) read as it is has two dims, one of axis 0 and one of axis 1; reshaped to (12,) it has one dim
of two atoms. Every operation gives a new layout; where axes are torn apart and cannot be followed, it is `lost`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from math import prod
from typing import NamedTuple, TypeAlias

from renorm_cli.conventions.graph.budget import Budget

Axes: TypeAlias = tuple[int, ...]
Shape: TypeAlias = tuple[int, ...]
"""Sizes; -1 for one that is not known."""
VariableId: TypeAlias = int | str


class Atom(NamedTuple):
    """A part of a dim: the weight's axes that run along it (none for values that are repeated), and its size."""

    axes: Axes
    size: int


class Dim(NamedTuple):
    """One dim of a tensor, outermost atom first."""

    size: int
    atoms: tuple[Atom, ...] = ()

    @property
    def axes(self) -> Axes:
        return tuple(dict.fromkeys(axis for atom in self.atoms for axis in atom.axes))

    @property
    def varies(self) -> bool:
        """Whether the weight has more than one value along it, as far as is known."""
        return any(atom.axes and atom.size != 1 for atom in self.atoms)

    def resized(self, size: int) -> Dim:
        """With another size, of a slice or with more around it: it stays what it was."""
        return self if size == self.size else self.mixed(size)

    def mixed(self, size: int) -> Dim:
        """With places in another order, so that the atoms of its axes are no longer one inside the other."""
        return Dim(size, (Atom(self.axes, size),) if self.axes else ())


_ONE = Dim(1)


class Sides(NamedTuple):
    """Where the axes of a weight go in an op that sums: `units` are those that reach its output, sorted.

    `units` is None where an axis is on both sides, where none is in the output, or where a product of weights has
    summed some and the op sums others. `summed` says whether the weight varies along what the op sums.
    """

    units: Axes | None
    summed: bool


class Layout(NamedTuple):
    """How one weight lies in a tensor."""

    variable: VariableId
    dims: tuple[Dim, ...]
    kept: Axes = ()
    """Axes that were indexed away (`w[i]`, unstack): each index is a part of its own."""
    summed: Axes = ()
    """Axes that a product of weights alone has summed (`u @ v`)."""
    via: frozenset[str] = frozenset()
    """The ops on the way that changed values."""
    lost: bool = False
    """The axes cannot be followed any more; the values still come from the weight."""

    @property
    def shape(self) -> Shape:
        return tuple(dim.size for dim in self.dims)

    def lose(self) -> Layout:
        return self._replace(dims=(), lost=True)

    def changed(self, op: str) -> Layout:
        return self._replace(via=self.via | {op})

    def within_limits(self) -> Layout:
        return self if len(self.dims) <= Budget.RANK and len(self.via) <= Budget.CHANGES else self.lose()

    def axis(self, axis: int) -> int:
        """A non-negative axis. Raises IndexError where there is no such dim."""
        if not -len(self.dims) <= axis < len(self.dims):
            raise IndexError(axis)
        return axis % len(self.dims)

    def reshape(self, target: Shape) -> Layout:
        """In another shape, if it splits and joins axes evenly. One size may be -1; 0 is the size of the dim there."""
        total = prod(self.shape)
        if total <= 0 or min(self.shape, default=0) < 0:
            return self.lose()
        target = tuple(self.dims[place].size if size == 0 else size for place, size in enumerate(target))
        if -1 in target:
            known = prod(size for size in target if size != -1)
            target = tuple(total // known if size == -1 and known else size for size in target)
        if prod(target) != total or min(target, default=1) < 1:
            return self.lose()
        atoms = [atom for dim in reversed(self.dims) for atom in reversed(_filled(dim))]
        dims: list[Dim] = []
        for size in target:
            dim = _take(atoms, size)
            if dim is None:
                return self.lose()
            dims.append(dim)
        return self._replace(dims=tuple(dims))

    def transpose(self, order: Sequence[int]) -> Layout:
        places = [self.axis(axis) for axis in order]
        if sorted(places) != list(range(len(self.dims))):
            return self.lose()
        return self._replace(dims=tuple(self.dims[place] for place in places))

    def expand(self, axis: int, size: int = 1) -> Layout:
        """One more dim, along which the values are repeated."""
        rank = len(self.dims)
        place = axis + rank + 1 if axis < 0 else axis
        if not 0 <= place <= rank:
            return self.lose()
        return self._replace(dims=(*self.dims[:place], Dim(size), *self.dims[place:]))

    def squeeze(self, axes: Collection[int]) -> Layout:
        """Without the dims of size 1, or without the given ones."""
        gone = {self.axis(axis) for axis in axes} or {i for i, dim in enumerate(self.dims) if dim.size == 1}
        return self._replace(dims=tuple(dim for place, dim in enumerate(self.dims) if place not in gone))

    def resize(self, axis: int, size: int) -> Layout:
        place = self.axis(axis)
        return self._replace(dims=(*self.dims[:place], self.dims[place].resized(size), *self.dims[place + 1 :]))

    def roll(self) -> Layout:
        return self._replace(dims=tuple(dim.mixed(dim.size) for dim in self.dims))

    def pick(self, axis: int) -> Layout:
        """One index of a dim, which goes."""
        place = self.axis(axis)
        kept = tuple(sorted({*self.kept, *self.dims[place].axes}))
        return self._replace(dims=self.dims[:place] + self.dims[place + 1 :], kept=kept)

    def broadcast(self, shape: Shape) -> Layout:
        """As an operand of an op whose result has this shape."""
        dims = (_ONE,) * (len(shape) - len(self.dims)) + self.dims
        return self._replace(
            dims=tuple(
                Dim(size) if dim.size == 1 != size and not dim.varies else dim
                for dim, size in zip(dims, shape, strict=True)
            )
        )

    def tile(self, times: Sequence[int] | None) -> Layout:
        """Repeated along its dims; None for unknown times."""
        if times is None:
            dims = (Dim(-1, dim.atoms if dim.size != 1 or dim.varies else ()) for dim in self.dims)
            return self._replace(dims=tuple(dims))
        return self._replace(
            dims=tuple(
                dim if count == 1 else dim.resized(dim.size * count)
                for dim, count in zip(self.dims, times, strict=True)
            )
        )

    def multiplied(self, dims: Iterable[Dim], summed: Iterable[int]) -> Layout:
        """In a product of weights: its dims in the result, and the places of those that are summed away."""
        gone = {axis for place in summed for axis in self.dims[place].axes}
        return self._replace(dims=tuple(dims), summed=tuple(sorted({*self.summed, *gone})))

    def is_empty(self, shape: Shape) -> bool:
        """Whether nothing is left of the axes of the weight, of `shape`: a norm, a mean, a factor."""
        varied = any(size != 1 for size in shape)
        return varied and not self.lost and not self.kept and not any(dim.varies for dim in self.dims)

    def sides(self, output: Iterable[int], shape: Shape) -> Sides:
        """Which axes of the weight, of `shape`, reach the output of an op, whose dims `output` are not summed."""
        if self.lost:
            return Sides(None, True)
        reaching = {self.axis(place) for place in output}
        units, summed = set(self.kept), set[int]()
        repeated = False
        for place, dim in enumerate(self.dims):
            (units if place in reaching else summed).update(dim.axes)
            repeated |= place in reaching and dim.size != 1 and not dim.axes
        # The first factor of a product has units there, and the op sums them away.
        torn = all(any(shape[axis] != 1 for axis in axes) for axes in (summed, self.summed))
        summed.update(self.summed)
        both, known = units & summed, units | summed
        units -= both
        torn |= any(shape[axis] != 1 for axis in both)
        torn |= any(axis not in known and size != 1 for axis, size in enumerate(shape))
        across = any(shape[axis] != 1 for axis in units) or not repeated
        return Sides(None if torn or not across else tuple(sorted(units)), bool(summed))


def plain(variable: VariableId, shape: Shape) -> Layout:
    """The weight as it is stored."""
    return Layout(variable, tuple(Dim(size, (Atom((axis,), size),)) for axis, size in enumerate(shape)))


def _filled(dim: Dim) -> tuple[Atom, ...]:
    """Atoms whose product is the size of the dim."""
    if not dim.atoms:
        return (Atom((), dim.size),) if dim.size != 1 else ()
    return dim.atoms if prod(atom.size for atom in dim.atoms) == dim.size else (Atom(dim.axes, dim.size),)


def _take(atoms: list[Atom], size: int) -> Dim | None:
    """A dim of this size from the end of `atoms`, which lose what it takes; None where an atom is torn unevenly."""
    taken: list[Atom] = []
    left = size
    if size == 1 and atoms and atoms[-1].size == 1:
        taken.append(atoms.pop())
    while left > 1:
        if not atoms or len(taken) > Budget.ATOMS:
            return None
        axes, width = atoms.pop()
        if left % width == 0:
            taken.append(Atom(axes, width))
            left //= width
        elif width % left == 0:
            taken.append(Atom(axes, left))
            atoms.append(Atom(axes, width // left))
            left = 1
        else:
            return None
    return Dim(size, tuple(taken))


class Handle(NamedTuple):
    """A variable itself: a resource, or a ref of TF1."""

    variable: VariableId


class Constant(NamedTuple):
    """What the graph holds itself. `integers` are its numbers, where they are few integers; either may be unknown."""

    integers: tuple[int, ...] | None = None
    shape: Shape | None = None


class Weights(NamedTuple):
    """Made of weights and constants alone."""

    layouts: tuple[Layout, ...]

    def each(self, change: Callable[[Layout], Layout]) -> Weights:
        """The weights after an op; those that are lost stay so, and those that it cannot take are lost."""
        return Weights(tuple(dict.fromkeys(_changed(layout, change) for layout in self.layouts)))

    @property
    def shape(self) -> Shape | None:
        return next((layout.shape for layout in self.layouts if not layout.lost), None)


class Derived(NamedTuple):
    """Made of weights and constants alone, but no axis of a weight is left in it."""


DERIVED = Derived()
Value: TypeAlias = Handle | Constant | Weights | Derived | None
"""What a tensor is made of; None is data, which is all that comes from outside of the graph or is not known."""


def holds_weights(value: Value) -> bool:
    return isinstance(value, (Handle, Weights))


def _changed(layout: Layout, change: Callable[[Layout], Layout]) -> Layout:
    if layout.lost:
        return layout
    try:
        return change(layout)
    except (IndexError, ValueError, ZeroDivisionError):  # operands that do not fit the op
        return layout.lose()
