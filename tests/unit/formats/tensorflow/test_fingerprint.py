"""The fingerprint of a SavedModel, against the one that TensorFlow computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tf_zoo

from renorm_cli.formats.tensorflow.fingerprint import fingerprint64, with_checkpoint_hash

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in tf_zoo.WARNINGS)]


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def proto() -> Any:
    from tensorflow.core.protobuf import fingerprint_pb2

    return fingerprint_pb2.FingerprintDef


def by_tensorflow(tf: Any, data: bytes) -> int:
    found = tf.fingerprint(np.frombuffer(data, np.uint8)[None])
    return int.from_bytes(found.numpy().tobytes(), "little")


def test_hashes_of_all_short_lengths_are_those_of_tensorflow(tf: Any) -> None:
    data = np.random.default_rng(3).integers(0, 256, 600, np.uint8).tobytes()
    for length in range(601):
        assert fingerprint64(data[:length]) == by_tensorflow(tf, data[:length])


@pytest.mark.parametrize("length", [1000, 4095, 4096, 4097, 65_537, 1_000_003])
def test_hashes_of_long_data_are_those_of_tensorflow(tf: Any, length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8).tobytes()
    assert fingerprint64(data) == by_tensorflow(tf, data)


@given(st.binary(max_size=300))
def test_hashes_of_any_bytes_are_those_of_tensorflow(tf: Any, data: bytes) -> None:
    assert fingerprint64(data) == by_tensorflow(tf, data)


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_hashes_of_extreme_bytes_are_those_of_tensorflow(tf: Any, fill: bytes) -> None:
    for length in range(0, 300, 7):
        assert fingerprint64(fill * length) == by_tensorflow(tf, fill * length)


@pytest.mark.parametrize("kind", ["module", "keras_3_export", "tf_keras_save"])
def test_the_fingerprint_of_an_unchanged_model_is_the_one_it_has(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tf_zoo.saved(kind, tmp_path_factory)[0]
    stored = (path / "fingerprint.pb").read_bytes()
    index = (path / "variables" / "variables.index").read_bytes()
    assert with_checkpoint_hash(stored, index, "shown") == stored


def test_the_fingerprint_of_a_changed_model_is_what_tensorflow_makes_of_it(
    tf: Any, proto: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    path = tf_zoo.saved("module", tmp_path_factory)[0]
    stored = (path / "fingerprint.pb").read_bytes()
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes((path / "saved_model.pb").read_bytes())
    index = (path / "variables" / "variables.index").read_bytes() + b"changed"
    (tmp_path / "variables" / "variables.index").write_bytes(index)
    expected = proto.FromString(fingerprinting.CreateFingerprintDef(str(tmp_path)))
    found = with_checkpoint_hash(stored, index, "shown")
    assert found is not None
    assert found != stored
    after = proto.FromString(found)
    assert after.checkpoint_hash == expected.checkpoint_hash
    after.checkpoint_hash = proto.FromString(stored).checkpoint_hash
    assert after.SerializeToString() == stored


@given(st.binary(max_size=40), st.integers(0, 2**64 - 1), st.text(max_size=5), st.booleans())
def test_all_other_fields_keep_their_bytes(proto: Any, index: bytes, number: int, uuid: str, missing: bool) -> None:
    message = proto(saved_model_checksum=number, signature_def_hash=number, uuid=uuid, version={"producer": 1})
    expected = proto()
    expected.CopyFrom(message)
    expected.checkpoint_hash = fingerprint64(index)
    if not missing:
        message.checkpoint_hash = 5
    unknown = b"\xfa\x01\x03abc"
    found = with_checkpoint_hash(message.SerializeToString() + unknown, index, "shown")
    assert found == expected.SerializeToString() + unknown


@pytest.mark.parametrize("garbage", [b"\xff", b"\x2a\x01a", b"\x08", b"not a message", b"\x0b\x0c", b" " * (1 << 21)])
def test_what_is_no_fingerprint_is_left_as_it_is(garbage: bytes) -> None:
    assert with_checkpoint_hash(garbage, b"index", "shown") is None


@given(st.binary(max_size=60))
def test_no_content_is_an_error(data: bytes) -> None:
    found = with_checkpoint_hash(data, b"index", "shown")
    assert found is None or len(found) <= len(data) + 40
