"""The bound in the ways people train: whatever is built, averaged, frozen, adapted or distributed, in every mode."""

from __future__ import annotations

import functools
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.keras_zoo import WARNINGS

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in WARNINGS)]

LIMIT = 0.5
MODES = {"graph": {"jit_compile": False}, "xla": {"jit_compile": True}, "eager": {"run_eagerly": True}}
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((96, 20)).astype(np.float32) * 3, RNG.standard_normal((96, 3)).astype(np.float32)

layers = keras.layers


def dense(**options: Any) -> Any:
    return keras.Sequential(
        [keras.Input((20,)), layers.Dense(30, "relu", name="a", **options), layers.Dense(3, name="b", **options)]
    )


class Transfer(keras.Model):
    """A body that is built, and a head that the first batch builds."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.body = keras.Sequential([keras.Input((20,)), layers.Dense(16, **options)])
        self.head = layers.Dense(3, **options)

    def call(self, x: Any) -> Any:
        return self.head(self.body(x))


class OwnWeight(keras.Model):
    """A weight of its own that is there before any layer is built."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.a = layers.Dense(3, **options)
        self.scale = self.add_weight(shape=(1,), name="temperature", initializer="ones")

    def call(self, x: Any) -> Any:
        return self.a(x) * self.scale


class Growing(keras.Model):
    """A second layer that the second epoch builds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.late = layers.Dense(3, name="a"), layers.Dense(3, name="late", kernel_initializer="ones")

    def call(self, x: Any) -> Any:
        return self.a(x)


def largest(model: Any, only: Callable[[Any], bool] = lambda kernel: True) -> float:
    """The largest norm of a column of the model's kernels, in plain NumPy float64."""
    kernels = [weight for weight in model.weights if weight.path.endswith("/kernel") and only(weight)]
    assert kernels
    return max(float(np.sqrt((np.asarray(kernel).astype(np.float64) ** 2).sum(0).max())) for kernel in kernels)


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """What a callback that saves the model would see."""

    def __init__(self, look: Callable[[Any], float] = largest) -> None:
        super().__init__()
        self.look, self.batches, self.epochs = look, list[float](), list[float]()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append(self.look(self.model))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(self.look(self.model))


def fit(model: Any, mode: str, *callbacks: Any, epochs: int = 2, optimizer: Any = None, **options: Any) -> Any:
    model.compile(optimizer or keras.optimizers.Adam(0.1), "mse", **MODES[mode], **options)
    return model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def within(values: Any) -> bool:
    """Within the limit, and so near it that the bound was at work."""
    return bool(LIMIT * (1 - 2.0**-20) < max(values) <= LIMIT)


def unbuilt(mode: str, made: Callable[..., Any]) -> None:
    from renorm_cli.tf import RenormCallback

    model, watch = made(), Watch()
    fit(model, mode, RenormCallback(max_norm=LIMIT), watch)
    assert len(watch.batches) == 12
    assert within(watch.batches)


def averaged(mode: str, every: Any, frequency: int | None, swap: bool) -> None:
    from renorm_cli.tf import RenormCallback

    before = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if swap else []
    model, watch = dense(), Watch()
    optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=frequency)
    fit(model, mode, *before, RenormCallback(max_norm=LIMIT, every=every), watch, optimizer=optimizer)
    assert max(*watch.epochs, largest(model)) <= LIMIT


def alike(mode: str) -> None:
    """Small variables of one shape, which XLA bounds together."""
    from renorm_cli.tf import RenormCallback

    model = keras.Sequential([keras.Input((20,)), *(layers.Dense(20) for _ in range(3)), layers.Dense(3)])
    bound, watch = RenormCallback(max_norm=LIMIT), Watch()
    fit(model, mode, bound, watch)
    assert within(watch.batches)
    assert within([largest(model, lambda kernel: tuple(kernel.shape) == (20, 20))])


def constrained(mode: str, **options: Any) -> None:
    from renorm_cli.tf import RenormConstraint

    model, watch = dense(kernel_constraint=RenormConstraint(LIMIT)), Watch()
    fit(model, mode, watch, **options)
    assert within(watch.batches)


def constrained_and_averaged(mode: str) -> None:
    """Keras puts averages into the model after all constraints; the callback bounds them."""
    from renorm_cli.tf import RenormCallback, RenormConstraint

    model, watch = dense(kernel_constraint=RenormConstraint(LIMIT)), Watch()
    optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.9)
    fit(model, mode, RenormCallback(max_norm=LIMIT), watch, optimizer=optimizer)
    assert within(watch.batches)
    assert largest(model) <= LIMIT


def adapted(mode: str) -> None:
    from renorm_cli.tf import RenormCallback

    model = dense()
    model.layers[0].enable_lora(4)
    with pytest.raises(ValueError, match="the weight in effect is not 'a/kernel': LoRA adds the product of two fac"):
        fit(model, mode, RenormCallback(max_norm=LIMIT))
    watch = Watch(lambda model: largest(model, lambda kernel: "/b/" in f"/{kernel.path}"))
    before = np.asarray(model.layers[0]._kernel)
    fit(model, mode, RenormCallback(max_norm=LIMIT, exclude=["a/kernel"]), watch)
    assert within(watch.batches)
    np.testing.assert_array_equal(np.asarray(model.layers[0]._kernel), before)
    model.layers[0].trainable = False  # nothing in effect is trained
    fit(model, mode, RenormCallback(max_norm=LIMIT), watch)


def quantized(mode: str) -> None:
    from renorm_cli.tf import RenormCallback

    model = dense()
    model.layers[0].quantize("int8")
    watch = Watch(lambda model: largest(model, lambda kernel: kernel.dtype == "float32"))
    fit(model, mode, RenormCallback(max_norm=LIMIT), watch)
    assert within(watch.batches)
    with pytest.raises(ValueError, match=r"the weight in effect is not 'a/kernel': its layer is quantized \(int8\)"):
        fit(model, mode, RenormCallback("*/kernel", max_norm=LIMIT))


def frozen(mode: str) -> None:
    from renorm_cli.tf import RenormCallback

    model = dense()
    model.layers[0].trainable = False
    before = np.full((20, 30), 3.0, np.float32)
    model.layers[0].kernel.assign(before)
    watch = Watch(lambda model: largest(model, lambda kernel: kernel.trainable))
    fit(model, mode, RenormCallback(max_norm=LIMIT), watch)
    assert within(watch.batches)
    np.testing.assert_array_equal(np.asarray(model.layers[0].kernel), before)
    fit(model, mode, RenormCallback("*/kernel", max_norm=LIMIT), epochs=1)
    assert within([largest(model)])


def several(mode: str) -> None:
    from renorm_cli.tf import RenormCallback

    first = RenormCallback("a/kernel", max_norm=LIMIT, every="epoch")
    second = RenormCallback("b/kernel", max_norm=LIMIT / 8)
    model = dense()
    history = fit(model, mode, first, second)
    assert history["renorm_clipped"][-1] <= 30
    assert history["renorm_clipped_2"][-1] <= 6 * 3 + 3
    assert min(map(min, (history["renorm_clipped"], history["renorm_clipped_2"]))) > 0
    assert set(fit(model, mode, second, epochs=1)) >= {"renorm_clipped"}


def mixed(mode: str) -> None:
    from renorm_cli.tf import RenormCallback, RenormConstraint

    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        for callbacks, options in (
            ([RenormCallback(max_norm=LIMIT)], {}),
            ([], {"kernel_constraint": RenormConstraint(LIMIT)}),
        ):
            watch = Watch()
            fit(dense(**options), mode, *callbacks, watch)
            skipped = 2 if options else 0  # gradients that overflow are not applied, nor are constraints
            assert within(watch.batches[skipped:])
    finally:
        keras.mixed_precision.set_dtype_policy(policy)


@functools.cache
def replicas() -> Any:
    """One for a process: the all-reduces of a second one are taken for those of the first."""
    first = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(first, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def mirrored(mode: str) -> None:
    from renorm_cli.tf import RenormCallback, RenormConstraint

    keras.utils.set_random_seed(1)
    strategy = replicas()
    assert strategy.num_replicas_in_sync == 2
    for callbacks, options in (
        ([RenormCallback(max_norm=LIMIT)], {}),
        ([], {"kernel_constraint": RenormConstraint(LIMIT)}),
    ):
        watch = Watch()
        with strategy.scope():
            model = dense(**options)
            fit(model, mode, *callbacks, watch)
        assert within(watch.batches)
        for kernel in (layer.kernel for layer in model.layers):
            one, other = (np.asarray(value) for value in strategy.experimental_local_results(kernel.value))
            np.testing.assert_array_equal(one, other)


def executions(mode: str) -> None:
    from renorm_cli.tf import RenormCallback

    watch = Watch()
    fit(dense(), mode, RenormCallback(max_norm=LIMIT), watch, steps_per_execution=3)
    assert len(watch.batches) == 4
    assert within(watch.batches)


SCENARIOS: dict[str, Callable[[str], None]] = {
    "a head that is not built": lambda mode: unbuilt(mode, Transfer),
    "a model with a weight of its own": lambda mode: unbuilt(mode, OwnWeight),
    "no layer is built": lambda mode: unbuilt(mode, lambda: keras.Sequential([layers.Dense(9), layers.Dense(3)])),
    "averages after training": lambda mode: averaged(mode, "batch", None, False),
    "averages after training, by epoch": lambda mode: averaged(mode, "epoch", None, False),
    "averages every second step": lambda mode: averaged(mode, "batch", 2, False),
    "averages every epoch": lambda mode: averaged(mode, "batch", None, True),
    "averages every epoch, by epoch": lambda mode: averaged(mode, "epoch", None, True),
    "averages and constraint": constrained_and_averaged,
    "constraint": constrained,
    "constraint, several steps in an execution": lambda mode: constrained(mode, steps_per_execution=3),
    "LoRA": adapted,
    "quantized": quantized,
    "frozen": frozen,
    "layers of one shape": alike,
    "several callbacks": several,
    "mixed precision": mixed,
    "several steps in an execution": executions,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_bound_holds_through_training_in_every_scenario(scenario: str, mode: str) -> None:
    keras.utils.set_random_seed(1)
    SCENARIOS[scenario](mode)


def test_the_bound_holds_on_two_replicas_which_stay_equal() -> None:
    """In a process of its own, because TensorFlow starts with one device in this one.

    Not under XLA: it cannot reach variables of another device, so that Keras compiles no step of several replicas.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        for mode in ("eager", "graph"):
            alone.submit(mirrored, mode).result()


@pytest.mark.filterwarnings("ignore:.build\\(\\). was called on layer:UserWarning")
def test_a_layer_that_is_built_in_a_later_epoch_is_bounded_from_then_on() -> None:
    from renorm_cli.tf import RenormCallback

    model, watch = Growing(), Watch()
    grow = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch and model.late.build((None, 9)))
    model.late.trainable = False  # the optimizer of Keras takes no later variables
    fit(model, "eager", grow, RenormCallback("*/kernel", max_norm=LIMIT), watch)
    assert within(watch.batches)
    assert float(np.asarray(model.late.kernel)[0, 0]) == pytest.approx(LIMIT / 3, rel=1e-6)


def test_a_second_call_of_fit_runs_the_function_that_the_first_has_made() -> None:
    from renorm_cli.tf import RenormCallback

    model, bound = dense(), RenormCallback(max_norm=LIMIT)
    fit(model, "graph", bound, epochs=1)
    made = bound._apply
    fit(model, "graph", bound, epochs=1)
    assert bound._apply is made
    assert made.experimental_get_tracing_count() == 1
    model.layers[0].trainable = False
    fit(model, "graph", bound, epochs=1)
    assert bound._apply is not made


def test_owners_are_found_beside_threads_that_run_tensorflow() -> None:
    from renorm_cli.training import live

    layer = layers.Conv2DTranspose(3, 2, kernel_constraint="non_neg")
    layer.build((None, 4, 4, 2))
    errors: list[Exception] = []
    stop = threading.Event()

    def busy() -> None:
        x = tf.ones((3, 4))
        while not stop.is_set():
            try:
                tf.unstack(tf.concat([x, x], 0))
                tuple(number for number in range(40))
            except Exception as error:  # noqa: BLE001  (whatever breaks is the finding)
                errors.append(error)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            live._OWNERS.clear()
            assert live.unit_axes_of(layer.kernel) == (2,)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors


def test_the_search_for_owners_lists_no_objects_but_those_that_refer_to_a_layer_class() -> None:
    """A list of all objects has tuples that another thread is filling, and cannot resize while they are listed."""
    import gc

    from renorm_cli.training import live

    layer = layers.Dense(3, kernel_constraint="non_neg")
    layer.build((None, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "get_objects", lambda *arguments: pytest.fail("all objects were listed"))
        live._OWNERS.clear()
        assert live.unit_axes_of(layer.kernel) == (1,)
