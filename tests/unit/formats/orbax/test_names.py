"""Names, layers and roles of the arrays of Orbax, from the keys of the tree and the config of a Keras model."""

from __future__ import annotations

import json
from typing import Any

from renorm_cli.conventions.identify import identify
from renorm_cli.formats.keras.config import parse_config
from renorm_cli.formats.orbax.names import Stored, name_arrays
from renorm_cli.model.variable import Variable


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}}


def model(name: str, *layers: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def told(
    shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None = None
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> role and unit axes; the keys of a path are given with a bar between them."""
    paths = {key: tuple(key.split("|")) for key in shapes}
    stored = [Stored(Variable(key, key, shape, "float32"), paths[key]) for key, shape in shapes.items()]
    naming = name_arrays(stored, None if config is None else parse_config(json.dumps(config), "config"))
    found = {variable.name: variable.identity for variable in identify(naming.variables)}
    return {name: (identity.role, identity.unit_axes) for name, identity in found.items() if identity is not None}


def test_weights_of_keras_are_named_by_their_layers_in_the_order_of_the_model() -> None:
    config = model("net", layer("Dense", "last.one"), layer("Embedding", "a"), layer("Conv2DTranspose", "up"))
    shapes = {
        "optimizer_variables|adam|net_a_embeddings_momentum": (9, 4),
        "trainable_variables|net|a|embeddings": (9, 4),
        "trainable_variables|net|up|kernel": (3, 3, 8, 4),
        "trainable_variables|net|last.one|kernel": (4, 2),
        "non_trainable_variables|net|seed|seed_generator_state": (2,),
    }
    found = told(shapes, config)
    assert list(found)[:3] == ["last.one/kernel", "a/embeddings", "up/kernel"]
    assert found["a/embeddings"] == ("embedding", (0,))
    assert found["up/kernel"] == ("kernel", (2,))
    assert found["optimizer_variables/adam/net_a_embeddings_momentum"][0] == "optimizer"
    assert found["seed/seed_generator_state"][0] == "state"


def test_weights_inside_of_other_layers_have_the_class_that_the_config_tells() -> None:
    inner = model("inner", layer("Dense", "deep"))
    config = {"module": "keras", "class_name": "Functional"}
    config |= {"config": {"name": "net", "layers": [inner, layer("MultiHeadAttention", "look")]}}
    shapes = {
        "trainable_variables|inner|deep|kernel": (4, 4),
        "trainable_variables|look|query|kernel": (8, 2, 4),
        "trainable_variables|look|attention_output|kernel": (2, 4, 8),
    }
    assert told(shapes, config) == {
        "inner/deep/kernel": ("kernel", (1,)),
        "look/query/kernel": ("kernel", (1, 2)),
        "look/attention_output/kernel": ("kernel", (2,)),
    }


def test_without_a_config_the_name_of_a_model_is_left_out_where_all_weights_have_it() -> None:
    shapes = {"trainable_variables|sequential|dense|kernel": (4, 2), "trainable_variables|sequential|dense|bias": (2,)}
    assert list(told(shapes)) == ["dense/kernel", "dense/bias"]
    alone = {"trainable_variables|dense|kernel": (4, 2), "trainable_variables|dense|bias": (2,)}
    assert list(told(alone)) == ["dense/kernel", "dense/bias"]


def test_other_trees_are_named_by_their_paths_and_by_the_convention_of_flax() -> None:
    shapes = {
        "params|with.dots|kernel": (4, 2),
        "params|with.dots|bias": (2,),
        "params|Embed_0|embedding": (9, 4),
        "opt_state|0|mu|params|with.dots|kernel": (4, 2),
        "layers|0|linear|kernel|value": (4, 3),
        "layers|0|linear|bias|value": (3,),
    }
    found = told(shapes)
    assert found["params/with.dots/kernel"] == ("kernel", (1,))
    assert found["params/Embed_0/embedding"] == ("embedding", (0,))
    assert found["opt_state/0/mu/params/with.dots/kernel"][0] == "optimizer"
    assert found["layers/0/linear/kernel"] == ("kernel", (1,))


def test_a_name_that_comes_twice_is_the_key() -> None:
    assert list(told({"a|kernel": (4, 2), "a|kernel|value": (4, 2)})) == ["a|kernel", "a|kernel|value"]
