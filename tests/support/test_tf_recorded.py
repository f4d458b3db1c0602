"""What is recorded in tests/data/tensorflow is what TensorFlow still writes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import keras_zoo, tf_recorded
from support.places import DATA

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def tensors(folder: Path, name: str) -> dict[str, Any]:
    """What TensorFlow reads, less the texts: the object graph has names that are made anew each time."""
    import tensorflow as tf

    path = folder / tf_recorded.FILES[name]
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables" if name == "saved model" else path))
    dtypes = reader.get_variable_to_dtype_map()
    return {key: None if dtypes[key] == tf.string else reader.get_tensor(key) for key in dtypes}


def fields(name: str, kind: Any) -> set[tuple[str, str, int, int]]:
    return {(name, field.name, field.number, field.type) for field in kind.DESCRIPTOR.fields}


def test_the_recorded_checkpoints_are_what_tensorflow_and_keras_write(tmp_path: Path) -> None:
    runpy.run_path(str(DATA / "record_tensorflow.py"))["record"](tmp_path / "new")
    assert files(tmp_path / "new") == files(tf_recorded.FOLDER)
    for name in tf_recorded.FILES:
        recorded, now = tensors(tf_recorded.FOLDER, name), tensors(tmp_path / "new", name)
        assert recorded.keys() == now.keys()
        for key, value in recorded.items():
            if "kernel" in key or name != "objects":  # the state of an optimizer differs in its last bits
                np.testing.assert_array_equal(value, now[key])


def test_the_recorded_messages_have_the_fields_of_tensorflow() -> None:
    from tensorflow.core.protobuf import tensor_bundle_pb2, trackable_object_graph_pb2
    from tensorflow.python.training import checkpoint_state_pb2

    for module, name in (
        (tensor_bundle_pb2, "BundleHeaderProto"),
        (tensor_bundle_pb2, "BundleEntryProto"),
        (trackable_object_graph_pb2, "TrackableObjectGraph"),
        (checkpoint_state_pb2, "CheckpointState"),
    ):
        recorded = fields(name, tf_recorded.message(name))
        assert recorded
        assert recorded <= fields(name, getattr(module, name))
