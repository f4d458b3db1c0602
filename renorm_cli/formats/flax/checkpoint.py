"""Checkpoints of flax in msgpack, patched where the arrays lie. There are no checksums."""

from __future__ import annotations

from renorm_cli.errors import FormatError
from renorm_cli.formats import frameworks
from renorm_cli.formats.base import Extent, Found
from renorm_cli.formats.flax.tree import read_leaves
from renorm_cli.formats.plain import Extents, PlainData, PlainFile
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.model.variable import Variable
from renorm_cli.untrusted import quoted


def open_msgpack(found: Found) -> PlainFile:
    """Open a msgpack file of flax. Raises FormatError where it is damaged."""
    file = found.only
    variables: list[Variable] = []
    extents: dict[str, Extent] = {}
    for leaf in read_leaves(file, file.size, file.shown):
        if leaf.path in extents:
            raise FormatError(f"{file.shown!r}: two arrays have the path {quoted(leaf.path)}; one was expected")
        extents[leaf.path] = Extent(0, leaf.start, leaf.size)
        variables.append(Variable(leaf.path, leaf.path, leaf.shape, leaf.dtype))
    plain = {variable.key: extents[variable.key] for variable in variables if variable.dtype in DTYPES}
    data = PlainData([file], Extents(plain))
    return PlainFile("flax-msgpack", found, [file], frameworks.described(variables, "flax"), data)
