"""The three block operations on TensorFlow, on a GPU or the CPU.

TensorFlow flushes subnormal numbers to zero, on the CPU depending on the thread that runs an operation. Every function
therefore also reports whether a nonzero weight came out below the normal range; NumPy then repeats the block. Bits are
compared as integers, which are never flushed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from renorm_cli.errors import EngineError, Way
from renorm_cli.norms.engines.base import BLOCK_BYTES, GramSum, others
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.norms.engines.quiet import quiet
from renorm_cli.norms.engines.tensor_ops import lost, magnitudes, peak_bits, power_sums, toward_zero
from renorm_cli.norms.error_free import Float64, is_small_whole
from renorm_cli.norms.rounding import widen
from renorm_cli.parallel.memory import ALIGNMENT, Purpose, reuse

_HOST = "/CPU:0"

_GPU_BLOCK_BYTES = 16 << 20
"""Larger than on the CPU, because every call has a fixed cost whatever its size (docs/performance.md)."""

_GPU_ROOM = 1 << 30
"""Only a variable whose units run through all of its blocks needs more than one of them at a time."""

_LEAST_HELD = 2 << 20
"""Bytes from which a second transfer takes longer than the call that holds a block, as 7 GB/s are to 0.25 ms
(docs/performance.md)."""

Array = npt.NDArray[Any]
_Graph = tuple[Callable[..., Any], list[Any]] | tuple[Callable[..., Any], list[Any], bool]
"""A function of tensors, of which the first is a block, its signature, and whether its result stays on the device."""


class _Held(NamedTuple):
    """A block in the memory of the device, as `_tensor` has it."""

    tensor: Any
    dtype: np.dtype[Any]
    ndim: int
    size: int
    stored: np.dtype[Any]
    """The dtype in the byte order of the file."""


class TensorFlowEngine:
    """The engine on a GPU; on the CPU with `device` "cpu", or if there is no GPU. Imports TensorFlow when created.

    Raises EngineError if TensorFlow cannot be imported, or if `device` is "gpu" and TensorFlow sees none.
    """

    name = "tensorflow"

    def __init__(self, device: str = "auto") -> None:
        self._tf, gpu = _start(device)
        if device == "gpu" and gpu is None:
            raise EngineError(
                "TensorFlow sees no GPU; the CUDA libraries may be missing: pip install 'tensorflow[and-cuda]'",
                Way("device", "do without", "cpu"),
            )
        self.device = "cpu" if gpu is None else f"gpu:0 {gpu}"
        self.block_bytes = BLOCK_BYTES if gpu is None else _GPU_BLOCK_BYTES
        self.room = 0 if gpu is None else _GPU_ROOM
        self._place = _HOST if gpu is None else "/GPU:0"
        self._host = NumpyEngine()
        self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def gram_sum(self, side: int) -> GramSum:
        """A Gram matrix of zeros on the device."""
        from renorm_cli.norms.engines.tensorflow_gram import TensorFlowGram

        return TensorFlowGram(self._tf, self._place, side)

    def hold(self, block: Array) -> Array | _Held:
        """The block in the memory of the GPU; the block itself if it is small, or there is no GPU with room for it."""
        if not self.room or block.nbytes < _LEAST_HELD:
            return block
        native = _native(block)
        try:
            tensor = self._call(_whole, native.dtype, native.ndim, inputs=(native,))
        except self._tf.errors.ResourceExhaustedError:
            return block
        return _Held(tensor, native.dtype, native.ndim, native.size, block.dtype)

    def peaks(self, block: Array | _Held, kept: tuple[int, ...]) -> Float64:
        """Largest |x| per unit; NaN for a unit that holds NaN. Shape: the kept axes of `block`."""
        if not block.size:
            return self._host.peaks(_array(block), kept)
        native = _native(block)
        bits = self._call(_peak_bits, native.dtype, native.ndim, others(native.ndim, kept), inputs=(native,))
        whole = np.asarray(bits.numpy()).astype(f"u{native.dtype.itemsize}")
        result = np.empty(whole.shape)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            widen(whole.view(native.dtype), result)
        return result

    def power_sums(self, block: Array | _Held, kept: tuple[int, ...], p: float, exponents: Array | None) -> Float64:
        """Sum of (|x| * 2**-exponent) ** p per unit, in float64. Shape: the kept axes of `block`."""
        if not block.size:
            return self._host.power_sums(_array(block), kept, p, exponents)
        native = _native(block)
        axes = others(native.ndim, kept)
        scales = [] if exponents is None else [np.expand_dims(half, axes) for half in _powers_of_two(exponents)]
        whole = int(p) if is_small_whole(p) else None
        key = (native.dtype, native.ndim, axes, whole, len(scales))
        sums, lost = self._call(_power_sums, *key, inputs=(native, np.float64(p), scales))
        if lost.numpy():
            return self._host.power_sums(_array(block), kept, p, exponents)
        return np.asarray(sums.numpy())

    def scale(self, block: Array | _Held, kept: tuple[int, ...], factors: Float64) -> Array:
        """The block times one factor per unit, rounded as on NumPy; units with factor 1 or NaN keep their bytes."""
        untouched = (factors == 1.0) | np.isnan(factors)
        if not block.size or untouched.all():
            return _array(block).copy()
        if np.nanmin(factors) < np.finfo(np.float64).tiny:  # flushed to zero, it would turn Inf into NaN
            return self._host.scale(_array(block), kept, factors)
        native = _native(block)
        axes = others(native.ndim, kept)
        inputs = (native, np.expand_dims(np.where(untouched, 1.0, factors), axes))
        products, lost = self._call(_products, native.dtype, native.ndim, inputs=inputs)
        if lost.numpy():
            return self._host.scale(_array(block), kept, factors)
        stored = block.stored if isinstance(block, _Held) else block.dtype
        return np.asarray(products).astype(stored, copy=False)

    def _call(self, make: Callable[..., _Graph], *key: Any, inputs: tuple[Any, ...]) -> Any:
        """Run the function that `make` builds for `key`, once for all shapes.

        Blocks become tensors in host memory. The function itself moves them to the device, and the results back,
        because that copy holds no lock that other threads wait for.
        """
        with self._lock:
            found = self._functions.get((make, *key))
            if found is None:
                found = self._functions[(make, *key)] = _function(self._tf, self._place, *make(self._tf, *key))
        block, *rest = inputs
        with self._tf.device(_HOST):
            return found(block.tensor if isinstance(block, _Held) else _tensor(self._tf, block), *rest)


def _start(device: str) -> tuple[Any, str | None]:
    """TensorFlow, configured for `device`, and the name of the GPU in use, or None."""
    try:
        with quiet():
            import tensorflow as tf

            return tf, _choose_gpu(tf, device)
    except ImportError as error:
        raise EngineError(
            "TensorFlow is not installed or does not load (python -c 'import tensorflow' tells);"
            " pip install 'tensorflow[and-cuda]'",
            Way("engine", "do without", "numpy"),
        ) from error


def _choose_gpu(tf: Any, device: str) -> str | None:
    """The name of the first GPU, or None; for `device` "cpu", hides all GPUs."""
    try:
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
            return None
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        pass  # TensorFlow runs already and its devices are fixed; every call names its device anyway
    gpus = [] if device == "cpu" else tf.config.get_visible_devices("GPU")
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")) if gpus else None


def _whole(tf: Any, dtype: np.dtype[Any], rank: int) -> _Graph:
    """block -> the block, on the device; with the bits of bfloat16 as integers, as `_tensor` has them."""
    stored = np.dtype(np.uint16) if dtype.kind == "V" else dtype
    return tf.identity, [_spec(tf, stored, rank)], True


def _peak_bits(tf: Any, dtype: np.dtype[Any], rank: int, axes: tuple[int, ...]) -> _Graph:
    """block -> the bits of the largest |x| per unit, as integers."""

    def peaks(block: Any) -> Any:
        return peak_bits(tf, block, tf.constant(axes, tf.int32))

    return peaks, [_spec(tf, dtype, rank)]


def _power_sums(
    tf: Any, dtype: np.dtype[Any], rank: int, axes: tuple[int, ...], whole: int | None, scales: int
) -> _Graph:
    """(block, p, scales) -> (sum of (|x| * every scale) ** p per unit, whether a weight was lost).

    A small whole p is compiled in as `whole`, with powers by multiplication as in `powers.power`; else `p` is used.
    """

    def sums(block: Any, p: Any, grids: list[Any]) -> tuple[Any, Any]:
        base = magnitudes(tf, block, grids)
        any_lost = tf.reduce_any(lost(tf, block, base, tf.float64))
        return power_sums(tf, base, tf.constant(axes, tf.int32), p, whole), any_lost

    grid = _spec(tf, np.dtype(np.float64), rank)
    return sums, [_spec(tf, dtype, rank), _spec(tf, np.dtype(np.float64), 0), [grid] * scales]


def _products(tf: Any, dtype: np.dtype[Any], rank: int) -> _Graph:
    """(block, factors) -> (products, whether one was lost).

    Products are rounded to nearest, to 16 bit dtypes toward zero; where the factor is 1, the block's bits are kept.
    One counts as lost where NumPy would round it otherwise.
    """
    own = tf.as_dtype(dtype)

    def products(block: Any, factors: Any) -> tuple[Any, Any]:
        wide = tf.cast(block, tf.float64) * factors
        changes = tf.not_equal(factors, 1.0)
        is_lost = lost(tf, block, tf.abs(wide), tf.float64 if own.size == 8 else tf.float32)
        if own == tf.float16:
            is_lost |= _just_below_a_step(tf, tf.abs(wide) * 2.0**24)
        any_lost = tf.reduce_any(is_lost & changes)
        rounded = toward_zero(tf, wide, own) if own.size == 2 else tf.cast(wide, own)
        return tf.where(changes, rounded, block), any_lost

    return products, [_spec(tf, dtype, rank), _spec(tf, np.dtype(np.float64), rank)]


def _just_below_a_step(tf: Any, steps: Any) -> Any:
    """Which products, in steps of the subnormal numbers of float16, NumPy may round up to the next of them before it
    rounds toward zero."""
    return tf.less(steps, 2.0**10) & tf.greater(steps - tf.floor(steps), 1 - 2.0**-40)


def _function(tf: Any, place: str, graph: Callable[..., Any], signature: list[Any], stays: bool = False) -> Any:
    """One graph for all shapes that runs on the device `place`, with inputs in host memory, unless the device holds the
    block, and results in host memory, unless they are to stay there.

    Traced here, because TensorFlow warns about many functions that are traced when called.
    """

    def there_and_back(block: Any, *rest: Any) -> Any:
        with tf.device(place):
            results = graph(block if block.dtype == own else tf.bitcast(block, own), *rest)
        with tf.device(place if stays else _HOST):
            return tf.nest.map_structure(tf.identity, results)

    own = signature[0].dtype
    if own == tf.bfloat16:
        signature = [tf.TensorSpec(signature[0].shape, tf.uint16), *signature[1:]]
    return tf.function(there_and_back, input_signature=signature, autograph=False).get_concrete_function()


def _spec(tf: Any, dtype: np.dtype[Any], rank: int) -> Any:
    return tf.TensorSpec([None] * rank, tf.as_dtype(dtype))


def _tensor(tf: Any, block: Array) -> Any:
    """The block as a tensor in the same memory, or in reused memory if TensorFlow cannot use the block's own.

    `tf.constant` would copy it into new memory, which takes longer than the sums. bfloat16 becomes uint16, because
    NumPy exports only its own dtypes through DLPack. The tensor is valid until the next call on the same thread.
    """
    if block.dtype.kind == "V":
        block = block.view(np.uint16)
    if not (block.flags.c_contiguous and block.flags.writeable and block.ctypes.data % ALIGNMENT == 0):
        copy = reuse(Purpose.TENSOR, block.nbytes).view(block.dtype).reshape(block.shape)
        np.copyto(copy, block)
        block = copy
    return tf.experimental.dlpack.from_dlpack(block.__dlpack__())


def _native(block: Any) -> Any:
    """The block in the machine's byte order."""
    return block if block.dtype.isnative else block.astype(block.dtype.newbyteorder("="))


def _array(block: Array | _Held) -> Array:
    """The block in host memory."""
    if isinstance(block, _Held):
        return np.asarray(block.tensor.numpy()).view(block.dtype).astype(block.stored, copy=False)
    return block


def _powers_of_two(exponents: Array) -> tuple[Float64, Float64]:
    """Two normal numbers whose product is 2**-exponent, because one alone can be subnormal or infinite.

    Exponents far outside float64's range belong to units of zeros, for which any number works.
    """
    bounded = np.clip(exponents, -1100, 1100)
    half = bounded // 2
    return np.ldexp(1.0, -half), np.ldexp(1.0, half - bounded)
