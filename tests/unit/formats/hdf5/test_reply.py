"""What the HDF5 worker says is believed only where a sound worker could have said it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.reply import survey_of

SOUND: dict[str, Any] = {
    "datasets": [["a/x", [2, 3], "float32", "<", 10, ["b"], None]],
    "groups": ["", "a"],
    "names": {"a": "dense"},
    "layer_names": {"": ["a"]},
    "weight_names": {"a": ["x"]},
    "model_configs": {},
    "soft_links": {"s": "/a"},
    "config": False,
}

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def test_a_sound_reply_is_a_survey() -> None:
    survey = survey_of(SOUND, b"", 100, "f.h5")
    assert (survey.datasets[0].path, survey.datasets[0].links, survey.groups) == ("a/x", ("b",), {"", "a"})
    assert survey.model_config is None


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


@given(key=st.sampled_from(sorted(SOUND)), value=json)
def test_any_other_reply_is_a_survey_or_an_error(key: str, value: Any) -> None:
    try:
        survey = survey_of({**SOUND, key: value}, b"", 100, "f.h5")
    except FormatError as error:
        assert "answered nonsense" in str(error)  # noqa: PT017
    else:
        assert all(isinstance(path, str) for path in survey.groups)
