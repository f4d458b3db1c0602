"""The format of TensorFlow Lite, told by a few bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found, Head

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_MARK = b"TFL3"


class TfliteFormat(Format):
    """A flatbuffer with the identifier of its schema."""

    reads = ".tflite"
    endings = (".tflite",)
    searched = (".tflite",)

    def recognises(self, head: Head) -> bool:
        return head.first[4:8] == _MARK

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.tflite.checkpoint import open_tflite  # each format alone needs its parser

        return open_tflite(found)
