"""What tests/data/record_tensorflow.py recorded: TensorFlow's own checkpoints and message types without TensorFlow."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from support.places import DATA

FOLDER = DATA / "tensorflow"
MESSAGES = "messages.pb"
FILES = {
    "prefix": Path("prefix/m"),
    "prefix of shards": Path("prefix-of-shards/m"),
    "v1": Path("v1/m.ckpt"),
    "saved model": Path("saved-model/module"),
    "objects": Path("objects/ckpt-7"),
}
"""The path of each checkpoint; its folder holds nothing else. What each is: the functions of `tf_files`."""


def copied(name: str, folder: Path) -> Path:
    """The path of a copy, in a folder that exists."""
    source = FOLDER / FILES[name]
    shutil.copytree(source.parent, folder, dirs_exist_ok=True)
    return folder / source.name


@cache
def message(name: str) -> Any:
    """The class of TensorFlow's messages of this name: `BundleEntryProto`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString((FOLDER / MESSAGES).read_bytes()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.{name}"))
