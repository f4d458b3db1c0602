"""Models of TensorFlow Lite, patched where the numbers lie. There are no checksums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from renorm_cli.conventions.graph.uses import Use
from renorm_cli.formats.base import Extent, Found
from renorm_cli.formats.node_graph import told_use, use_notes
from renorm_cli.formats.plain import SHARED, Extents, PlainData, PlainFile, overlapping
from renorm_cli.formats.tflite.flatbuffer import Flatbuffer
from renorm_cli.formats.tflite.graph import Uses, uses_in
from renorm_cli.formats.tflite.model import Tensor, read_model
from renorm_cli.formats.walk import Pages
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Hint, Variable


def open_tflite(found: Found) -> PlainFile:
    """Open a model. Raises FormatError where it is damaged, or lies partly in another file."""
    file = found.only
    content = Pages(file)
    data = Flatbuffer(content, file.shown)
    graphs = read_model(data, file)
    tensors = [tensor for graph in graphs for tensor in graph.tensors if tensor.size]
    same, shared = _joined(tensors)
    uses = uses_in(graphs, data, content, same)
    extents = {
        tensor.key: Extent(0, tensor.start, tensor.size)
        for tensor in tensors
        if tensor.odd is None and tensor.key not in same
    }
    variables = _variables(tensors, same, shared, uses)
    return PlainFile(
        "tflite", found, [file], variables, PlainData([file], Extents(extents)), use_notes(uses.uses, uses.spent)
    )


def _joined(tensors: Sequence[Tensor]) -> tuple[Mapping[str, str], frozenset[str]]:
    """Of tensors of one place the key of the first by that of each other; and the keys of those that overlap."""
    first: dict[object, str] = {}
    same: dict[str, str] = {}
    kept: dict[str, Extent] = {}
    for tensor in tensors:
        place = (tensor.start, tensor.size, tensor.shape, tensor.dtype)
        original = first.setdefault(place, tensor.key)
        if original == tensor.key:
            kept[tensor.key] = Extent(0, tensor.start, tensor.size)
        else:
            same[tensor.key] = original
    return same, overlapping(kept)


def _variables(
    tensors: Sequence[Tensor], same: Mapping[str, str], shared: frozenset[str], uses: Uses
) -> tuple[Variable, ...]:
    others: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.key in same:
            others.setdefault(same[tensor.key], []).append(tensor)
    return tuple(
        Variable(
            tensor.key,
            tensor.key,
            tensor.shape,
            tensor.dtype,
            Hint("tflite"),
            _state(tensor, uses.uses.get(tensor.key)),
            locked=SHARED if tensor.key in shared else tensor.odd,
            scaling=_scaling([tensor, *others.get(tensor.key, ())]),
            use=told_use(uses.uses.get(tensor.key)),
            aliases=tuple(other.key for other in others.get(tensor.key, ())),
        )
        for tensor in tensors
        if tensor.key not in same
    )


def _state(tensor: Tensor, use: Use | None) -> Role | None:
    """Weights of few bits that the graph uses are quantized."""
    return "quantized" if use is not None and use.ops and tensor.dtype not in FLOATS else None


def _scaling(tensors: Sequence[Tensor]) -> str | None:
    """What makes numbers of the stored ones, for all tensors in one place: each may have a scale of its own."""
    told = [tensor.scaling for tensor in tensors]
    return " ".join(one or "none" for one in told) if any(told) else None
