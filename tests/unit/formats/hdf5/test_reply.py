"""What the HDF5 worker says is believed only where a sound worker could have said it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import examples

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.reply import survey_of
from renorm_cli.formats.hdf5.survey import Dataset

SOUND: dict[str, Any] = {
    "datasets": [["a/x", [2, 3], "float32", "<", 64, ["b"], None], ["y", [], "string", "<", None, [], "locked"]],
    "groups": ["", "a"],
    "names": {"a": "dense"},
    "layer_names": {"": ["a"]},
    "weight_names": {"a": ["x"]},
    "model_configs": {},
    "soft_links": {"s": "/a"},
    "config": True,
}


def test_a_sound_reply_is_believed_and_one_about_bytes_that_are_not_there_is_not() -> None:
    found = survey_of(SOUND, b"{}", 88, "f.h5")
    assert found.datasets[0] == Dataset("a/x", (2, 3), "float32", "<", 64, ("b",))
    assert (found.model_config, found.groups) == ("{}", {"", "a"})
    assert survey_of({**SOUND, "config": False}, b"", 88, "f.h5").model_config is None
    with pytest.raises(FormatError, match="nonsense"):
        survey_of(SOUND, b"{}", 87, "f.h5")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//x", "/"])
@pytest.mark.parametrize("place", ["dataset", "link", "group", "name", "layer_names", "model_config", "soft_link"])
def test_a_path_with_an_empty_part_is_nonsense(place: str, path: str) -> None:
    odd: dict[str, dict[str, Any]] = {
        "dataset": {"datasets": [[path, [2], "float32", "<", None, [], None]]},
        "link": {"datasets": [["x", [2], "float32", "<", None, [path], None]]},
        "group": {"groups": [path]},
        "name": {"names": {path: "x"}},
        "layer_names": {"layer_names": {path: []}},
        "model_config": {"model_configs": {path: "{}"}},
        "soft_link": {"soft_links": {path: "x"}},
    }
    if path == "" and place not in ("dataset", "link"):
        survey_of({**SOUND, **odd[place]}, b"", 100, "f.h5")  # the root
        return
    with pytest.raises(FormatError, match="answered nonsense"):
        survey_of({**SOUND, **odd[place]}, b"", 100, "f.h5")


@pytest.mark.parametrize(
    "item",
    [
        ["x", [True], "float32", "<", None, [], None],
        ["x", [1.0], "float32", "<", None, [], None],
        ["x", [-1], "float32", "<", None, [], None],
        ["x", [1 << 63], "float32", "<", None, [], None],
        ["x", [1] * 33, "float32", "<", None, [], None],
        ["x", [1], "float99", "<", None, [], None],
        ["x", [1], "float32", "=", None, [], None],
        ["x", [1], "float32", "<", -1, [], None],
        ["x", [1], "float32", "<", True, [], None],
        ["x", [1], "float32", "<", None, [1], None],
        ["x", [1], "float32", "<", None, [], False],
        ["x", [1], "float32", "<", None, []],
        ["y", [], "float32", "<", None, [], None],
    ],
)
def test_a_dataset_of_impossible_facts_makes_the_reply_nonsense(item: list[Any]) -> None:
    sound = ["y", [1], "float32", "<", 0, [], None]
    with pytest.raises(FormatError, match="nonsense"):
        survey_of({**SOUND, "datasets": [sound, item]}, b"", 100, "f.h5")


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=examples(200))
@given(data=st.data())
def test_a_reply_with_anything_wrong_in_it_is_refused_or_a_sound_survey(data: st.DataObject) -> None:
    def spoiled(node: Any) -> Any:
        if data.draw(st.integers(0, 9)) == 0:
            return data.draw(json)
        if isinstance(node, dict):
            return {key: spoiled(value) for key, value in node.items()}
        return [spoiled(value) for value in node] if isinstance(node, list) else node

    try:
        found = survey_of({key: spoiled(value) for key, value in SOUND.items()}, b"{}", 100, "f.h5")
    except FormatError:
        return
    for item in found.datasets:
        assert all(type(edge) is int and edge >= 0 for edge in item.shape)
        assert item.offset is None or 0 <= item.offset <= 100
        assert isinstance(item.path, str)
        assert item.order in ("<", ">")
