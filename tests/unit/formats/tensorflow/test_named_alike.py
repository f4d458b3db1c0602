"""Names are taken over from another checkpoint only where nothing that they come from differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import small_checkpoints as small
from support.memory_file import MemoryFile

from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.formats.tensorflow.bundle import OBJECT_GRAPH_KEY, Entry
from renorm_cli.formats.tensorflow.checkpoint import OpenBundle, TfCheckpoint


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[OpenBundle]:
    """A bundle with an object graph."""
    with open_checkpoint(small.FORMATS["saved model"](tmp_path) / "variables" / "variables") as source:
        assert isinstance(source, TfCheckpoint)
        yield source.opened


EDITS: dict[str, Callable[[Entry], Entry]] = {
    "key": lambda entry: replace(entry, key=f"{entry.key}2"),
    "shape": lambda entry: replace(entry, shape=(*entry.shape, 1)),
    "dtype": lambda entry: replace(entry, dtype="float16"),
}


def test_the_same_bundle_with_other_weights_is_named_alike(opened: OpenBundle) -> None:
    assert opened.is_named_as(with_data(opened, "float32"))


def test_another_object_graph_names_otherwise_whatever_its_checksum_says(opened: OpenBundle) -> None:
    assert not opened.is_named_as(with_data(opened, "string"))


def with_data(opened: OpenBundle, dtype: str) -> OpenBundle:
    """The bundle with other bytes of all entries of a dtype; the index is the same."""
    (file,) = opened.data
    content = bytearray(file.path.read_bytes())
    for entry in opened.bundle.stored:
        if entry.dtype == dtype:
            content[entry.offset : entry.offset + entry.size] = bytes(
                byte ^ 1 for byte in content[entry.offset : entry.offset + entry.size]
            )
    return replace(opened, data=(MemoryFile(file.path, bytes(content)),))


@pytest.mark.parametrize("edit", EDITS)
def test_another_key_shape_or_dtype_names_otherwise(opened: OpenBundle, edit: str) -> None:
    *others, last = (entry for entry in opened.bundle.entries if entry.key != OBJECT_GRAPH_KEY)
    graph = next(entry for entry in opened.bundle.entries if entry.key == OBJECT_GRAPH_KEY)
    same, edited = (
        replace(opened, bundle=replace(opened.bundle, entries=(graph, *others, entry)))
        for entry in (last, EDITS[edit](last))
    )
    assert same.is_named_as(replace(same))
    assert not same.is_named_as(edited)


def test_another_byte_order_or_number_of_tensors_or_no_graph_names_otherwise(opened: OpenBundle) -> None:
    bundle = opened.bundle
    without_graph = tuple(entry for entry in bundle.entries if entry.key != OBJECT_GRAPH_KEY)
    for other in (
        replace(bundle, order=">"),
        replace(bundle, entries=bundle.entries[:-1]),
        replace(bundle, entries=without_graph),
    ):
        assert not opened.is_named_as(replace(opened, bundle=other))
