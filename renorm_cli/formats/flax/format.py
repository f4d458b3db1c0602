"""The format of flax, told by how it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found, Head

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint


class FlaxFormat(Format):
    """msgpack has no mark: a tree of maps is followed down to its first array."""

    reads = ".msgpack of flax"
    endings = (".msgpack",)
    searched = (".msgpack",)

    def recognises(self, head: Head) -> bool:
        first = head.first
        if not first or not (0x80 < first[0] <= 0x8F or first[0] in (0xDE, 0xDF)):
            return False
        from renorm_cli.formats.flax.tree import begins_a_tree  # few files begin so

        return begins_a_tree(head)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.flax.checkpoint import open_msgpack  # each format alone needs its parser

        return open_msgpack(found)
