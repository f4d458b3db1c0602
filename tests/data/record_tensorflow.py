"""Records small checkpoints that TensorFlow and Keras write, and TensorFlow's message types, in tests/data/tensorflow.

Tests that read them start without TensorFlow: `PYTHONPATH=tests python tests/data/record_tensorflow.py`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import tf_files, tf_recorded

MAKERS: dict[str, Callable[[Path], Path]] = {
    "prefix": tf_files.prefix,
    "prefix of shards": tf_files.prefix_of_shards,
    "v1": tf_files.v1,
    "saved model": tf_files.module,
    "objects": tf_files.object_checkpoint,
}


def record(folder: Path) -> None:
    """Write all of it into a folder."""
    for name, make in MAKERS.items():
        own = folder / tf_recorded.FILES[name].parent
        own.mkdir(parents=True)
        assert make(own) == folder / tf_recorded.FILES[name]
        (own / "words.txt").unlink(missing_ok=True)  # the asset of the SavedModel, which has its own copy
    (folder / tf_recorded.MESSAGES).write_bytes(messages())


def messages() -> bytes:
    """A serialized FileDescriptorSet of the files with the message types that tests write, imported ones first."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from tensorflow.core.protobuf import tensor_bundle_pb2, trackable_object_graph_pb2
    from tensorflow.python.training import checkpoint_state_pb2

    found = FileDescriptorSet()

    def add(file: Any) -> None:
        for needed in file.dependencies:
            add(needed)
        if all(known.name != file.name for known in found.file):
            file.CopyToProto(found.file.add())

    for module in (tensor_bundle_pb2, trackable_object_graph_pb2, checkpoint_state_pb2):
        add(module.DESCRIPTOR)
    data: bytes = found.SerializeToString(deterministic=True)
    return data


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else tf_recorded.FOLDER
    shutil.rmtree(target, ignore_errors=True)
    record(target)
