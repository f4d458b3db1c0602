"""How long a GPU takes for weights that are in its memory already; seconds by name, as JSON on stdout.

Arguments: "tensorflow" or "torch", bytes of weights, unit axis. With TensorFlow "copy" is a copy on the device, "sums"
and "products" are the functions that `apply` runs there, on blocks as large as it gives them; with torch "renorm".
"moved" and "held" are sums and products of blocks in host memory, which go to the device for each or once for both.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

_COLUMNS = 4096
_REPEATS = 10
_ROUNDS = 7


def seconds(once: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """The median time of one call among many that the device is given in a row."""
    found = []
    for _ in range(_ROUNDS + 1):
        started = time.perf_counter()
        for _ in range(_REPEATS):
            once()
        wait()
        found.append((time.perf_counter() - started) / _REPEATS)
    return statistics.median(found[1:])


def tensorflow(nbytes: int, unit_axis: int) -> dict[str, float]:
    import numpy as np
    import tensorflow as tf

    from renorm_cli.norms.engines import tensorflow_engine as module
    from renorm_cli.parallel import memory

    arrays = module.TensorFlowEngine("gpu")
    rows = arrays.block_bytes // 4 // _COLUMNS
    dtype = np.dtype("float32")
    axes = (1 - unit_axis,)
    with tf.device("/GPU:0"):
        blocks = [tf.random.normal((rows, _COLUMNS)) for _ in range(nbytes // arrays.block_bytes)]
        factors = tf.fill([rows, 1] if unit_axis == 0 else [1, _COLUMNS], tf.constant(0.5, tf.float64))
        two = tf.constant(2.0, tf.float64)

        def compiled(graph: Callable[..., Any], signature: list[Any]) -> Any:
            return tf.function(graph, input_signature=signature).get_concrete_function()

        sums = compiled(*module._power_sums(tf, dtype, 2, axes, 2, 0))
        products = compiled(*module._products(tf, dtype, 2))
        last: list[Any] = []

        def each(function: Callable[[Any], Any]) -> Callable[[], None]:
            def once() -> None:
                last[:] = [function(block) for block in blocks]

            return once

        def wait() -> None:
            tf.nest.map_structure(lambda tensor: tf.reshape(tensor, [-1])[:1].numpy(), last[-1])

        ones = [memory._aligned(arrays.block_bytes).view(np.float32).reshape(rows, _COLUMNS) for _ in blocks]
        for block in ones:
            block[...] = 1.0
        half = np.full((rows, _COLUMNS)[unit_axis], 0.5)

        def both(hold: Callable[[Any], Any]) -> Callable[[], None]:
            def once() -> None:
                for block in map(hold, ones):
                    arrays.power_sums(block, (unit_axis,), 2.0, None)
                    arrays.scale(block, (unit_axis,), half)

            return once

        return {
            "moved": seconds(both(lambda block: block), lambda: None),
            "held": seconds(both(arrays.hold), lambda: None),
            "copy": seconds(each(lambda block: tf.raw_ops.DeepCopy(x=block)), wait),
            "sums": seconds(each(lambda block: sums(block, two, [])), wait),
            "products": seconds(each(lambda block: products(block, factors)), wait),
        }


def torch(nbytes: int, unit_axis: int) -> dict[str, float]:
    import torch

    weights = torch.randn(nbytes // 4 // _COLUMNS, _COLUMNS, device="cuda")
    limit = weights.norm(dim=1 - unit_axis).median().item() / 2
    return {"renorm": seconds(lambda: torch.renorm(weights, 2, unit_axis, limit), torch.cuda.synchronize)}


if __name__ == "__main__":
    library, nbytes, unit_axis = sys.argv[1:]
    sys.stdout.write(json.dumps({"tensorflow": tensorflow, "torch": torch}[library](int(nbytes), int(unit_axis))))
