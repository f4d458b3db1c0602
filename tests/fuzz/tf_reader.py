"""TensorFlow's own reader of checkpoints, as a process: it aborts on some files, so each is read in a fork.

Requests on stdin are prefixes, one a line; an answer is a line of JSON: for each tensor of numbers its shape and the
SHA-256 of its bytes; null where TensorFlow refuses the checkpoint, or dies. Run as a script.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

_SECONDS = 20


class Theirs:
    """The process, from the side of the tests."""

    def __init__(self) -> None:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def read(self, prefix: str) -> dict[str, Any] | None:
        assert self._process.stdin is not None
        self._process.stdin.write(prefix + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] | None = self._answer()
        return found

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


def _read(prefix: str) -> dict[str, Any]:
    import numpy as np
    import tensorflow as tf

    found: dict[str, Any] = {}
    reader = tf.train.load_checkpoint(prefix)
    for key, shape in reader.get_variable_to_shape_map().items():
        try:
            values = np.asarray(reader.get_tensor(key))
        except (tf.errors.OpError, RuntimeError, ValueError, UnicodeError):
            continue
        if values.dtype != object:
            found[key] = [shape, hashlib.sha256(values.tobytes()).hexdigest()]
    return found


def _in_a_fork(prefix: str) -> dict[str, Any] | None:
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        import signal

        signal.alarm(_SECONDS)
        with os.fdopen(theirs, "w") as pipe:
            pipe.write(json.dumps(_read(prefix)))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    found: dict[str, Any] | None = json.loads(answer) if status == 0 and answer else None
    return found


def main() -> None:
    import tensorflow

    assert tensorflow.__version__
    answers = sys.stdout
    answers.write('"ready"\n')
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_in_a_fork(line.rstrip("\n"))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
