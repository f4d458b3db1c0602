"""Keras configs of any size are read in time that grows with the size, or refused before they take memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.keras import legacy_names, v3_names
from renorm_cli.formats.keras.config import LayerNode, parse_config


def model(*layers: dict[str, Any]) -> str:
    return json.dumps({"class_name": "Model", "config": {"name": "m", "layers": list(layers)}})


def layer(name: str, class_name: str = "Dense", **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **config}}


@pytest.mark.parametrize("value", ["[]", '""', "{}", "1", '{"a":1}'])
def test_millions_of_values_are_refused_before_they_are_made(value: str) -> None:
    text = "[" + f"{value}," * 2_100_000 + "1]"
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="more than 2000000 values"):
            parse_config(text, "config.json")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_large_config_of_few_values_is_read() -> None:
    text = model(layer("a", note="x" * (8 << 20)))
    assert parse_config(text, "config.json").children[0].name == "a"


def node(text: str) -> LayerNode:
    return parse_config(text, "config.json")


def test_children_are_found_as_a_search_through_all_finds_them() -> None:
    inner = {
        "layers": [layer("a"), layer("b"), layer("a", "Conv2D")],
        "cell": layer("b", "GRUCell"),
        "layer": layer("c"),
    }
    found = node(json.dumps({"class_name": "Model", "config": {"name": "m", **inner}}))
    for names in (["a"], ["b", "a"], ["c"], ["x"], ["x", "b"], []):
        searched = next((child for child in found.children if child.name in names), None)
        assert found.first_named(names) is searched
    for keys in (["cell"], ["layer", "cell"], ["layers"], ["x"], []):
        assert found.first_under(keys) is next((child for child in found.children if child.key in keys), None)
        for key in keys:
            assert found.under(key) == tuple(child for child in found.children if child.key == key)


def attributes(count: int) -> Callable[[], object]:
    """One layer with as many layers in attributes, and a group for each."""
    config = node(json.dumps({"class_name": "Model", "config": {f"a{n}": layer(f"n{n}") for n in range(count)}}))
    datasets = tuple(Dataset(f"a{n}/vars/0", (2, 2), "float32") for n in range(count))
    survey = Survey(datasets, frozenset(), {}, {}, {}, {})
    return lambda: v3_names.name_variables(survey, config)


def classes(count: int) -> Callable[[], object]:
    """As many classes as layers, and a group for each."""
    config = node(model(*(layer(f"n{n}", f"C{n}x") for n in range(count))))
    datasets = tuple(Dataset(f"layers/c{n}x/vars/0", (2, 2), "float32") for n in range(count))
    survey = Survey(datasets, frozenset(), {}, {}, {}, {})
    return lambda: v3_names.name_variables(survey, config)


def inner_layers(count: int) -> Callable[[], object]:
    """Legacy weights of a model with as many layers inside a layer."""
    inner = [layer(f"n{n}") for n in range(count)]
    config = node(model({"class_name": "Functional", "config": {"name": "outer", "layers": inner}}))
    names = tuple(f"n{n}/kernel:0" for n in range(count))
    datasets = tuple(Dataset(f"outer/{name}", (2, 2), "float32") for name in names)
    survey = Survey(datasets, frozenset({"", "outer"}), {}, {"": ("outer",)}, {"outer": names}, {})
    return lambda: legacy_names.name_variables(survey, config, "")


def wide_config(count: int) -> Callable[[], object]:
    """A custom layer with as many options as weights: each weight asks for the layer's constraint."""
    config = node(model(layer("outer", "Mine", **{f"option{n}": n for n in range(count)})))
    names = tuple(f"w{n}:0" for n in range(count))
    datasets = tuple(Dataset(f"outer/{name}", (2, 2), "float32") for name in names)
    survey = Survey(datasets, frozenset({"", "outer"}), {}, {"": ("outer",)}, {"outer": names}, {})
    return lambda: legacy_names.name_variables(survey, config, "")


def seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


def growth(make: Callable[[int], Callable[[], object]]) -> float:
    """How many times as long four times the count takes, from a count on that takes long enough to be measured."""
    count = 250
    while (small := seconds(make(count))) < 0.01:
        count *= 2
    return seconds(make(4 * count)) / small


@pytest.mark.slow
@pytest.mark.parametrize("make", [attributes, classes, inner_layers, wide_config])
def test_four_times_the_layers_take_four_times_the_time(make: Callable[[int], Callable[[], object]]) -> None:
    """Eight times at most, where a search through all layers for each would take sixteen."""
    assert growth(make) < 8


@pytest.mark.slow
def test_a_quadratic_search_would_be_noticed() -> None:
    def search(count: int) -> Callable[[], object]:
        return lambda: [next((n for n in range(count) if n == k), None) for k in range(count)]

    assert growth(search) > 8
