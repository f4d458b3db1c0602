"""A Keras model config as plain data: which layer holds which. Nothing is ever deserialized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from renorm_cli.conventions.keras.layers import canonical
from renorm_cli.errors import FormatError
from renorm_cli.untrusted import JsonError, nested, parse_json

_BYTES = 64 << 20
_DEPTH = 200
_VALUES = 2_000_000
_KERAS = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")
_EINSUM = frozenset({"equation", "output_shape", "bias_axes"})
"""The keys in the config of an EinsumDense, and of a class that is made from it."""
_WRAPPED = ("layer", "cell", "forward_layer")
_NO_LAYER_KEYS = ("_initializer", "_regularizer", "_constraint", "_nodes", "dtype", "activation")


@dataclass(frozen=True, slots=True, eq=False)
class LayerNode:
    """One layer of the config, with the layers serialized inside it.

    `key` is the key of the parent's config that holds it ("layers", "layer", "cell"). `custom` classes are not Keras'
    own, whatever their name; `class_name` has no package prefix.
    """

    name: str
    class_name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[LayerNode, ...] = ()
    key: str = ""
    custom: bool = False
    constraint: object = None
    """The first that its config declares for whatever weight, as it stands there."""
    _keys: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False)
    _names: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        # Thousands of groups are looked up among thousands of layers: never by a search through all.
        for place, child in enumerate(self.children):
            self._keys.setdefault(child.key, []).append(place)
            self._names.setdefault(child.name, place)

    @property
    def equation(self) -> str | None:
        """The equation of an EinsumDense, or of a class of another package that is made from it."""
        einsum = self.config.keys() >= _EINSUM if self.custom else self.class_name == "EinsumDense"
        found = self.config.get("equation") if einsum else None
        return found if isinstance(found, str) else None

    @property
    def wrapped(self) -> LayerNode | None:
        """The layer that a wrapper is around."""
        return self.first_under(_WRAPPED)

    def under(self, key: str) -> tuple[LayerNode, ...]:
        """The children that the config holds under `key`, in order."""
        return tuple(self.children[place] for place in self._keys.get(key, ()))

    def first_under(self, keys: Iterable[str]) -> LayerNode | None:
        """The first child that the config holds under any of the keys."""
        places = [self._keys[key][0] for key in keys if key in self._keys]
        return self.children[min(places)] if places else None

    def first_named(self, names: Iterable[str]) -> LayerNode | None:
        """The first child that has any of the names."""
        places = [self._names[name] for name in names if name in self._names]
        return self.children[min(places)] if places else None


def parse_config(text: str, where: str) -> LayerNode:
    """The layers of `model_config` or `config.json`; a node without children if it is JSON, but no Keras config.

    Raises FormatError if it is no JSON, larger than 64 MiB or 2 million values, or nested deeper than 200 levels.
    """
    if len(text) > _BYTES:
        raise FormatError(f"{where}: the model config has {len(text)} characters; at most {_BYTES} are read")
    if holds_too_much(text):
        raise FormatError(f"{where}: the model config has more than {_VALUES} values; no model's has")
    try:
        raw = parse_json(text, depth=_DEPTH)
    except JsonError as problem:
        raise FormatError(f"{where}: the model config {problem}") from None
    return layers_of(raw)


def layers_of(raw: object) -> LayerNode:
    """The layers of a config that was parsed; a node without children if it is none."""
    return _build(raw) if isinstance(raw, dict) else LayerNode("", "")


def holds_too_much(text: str) -> bool:
    """Whether JSON text may hold more than 2 million values: as objects they take fifty times the room of `[],`."""
    return text.count(",") + text.count("[") + text.count("{") > _VALUES


def _build(root: dict[str, Any]) -> LayerNode:
    """Nodes in two passes without recursion: parents first to find the children, then children first to build."""
    found: list[tuple[dict[str, Any], str, int]] = [(root, "", -1)]
    for index, (raw, _, _) in enumerate(found):
        found.extend((child, key, index) for key, child in _nested(raw))
    children: list[list[LayerNode]] = [[] for _ in found]
    for index in range(len(found) - 1, -1, -1):
        raw, key, parent = found[index]
        node = _node(raw, key, tuple(reversed(children[index])))
        if parent < 0:
            return node
        children[parent].append(node)
    raise AssertionError("the first entry is the root")


def _node(raw: dict[str, Any], key: str, children: tuple[LayerNode, ...]) -> LayerNode:
    config = raw.get("config")
    config = config if isinstance(config, dict) else {}
    name = config.get("name", raw.get("name"))
    class_name = raw.get("class_name")
    class_name = class_name if isinstance(class_name, str) else ""
    return LayerNode(
        name=name if isinstance(name, str) else "",
        class_name=canonical(class_name.rpartition(">")[2]),
        config=config,
        children=children,
        key=key,
        custom=is_custom(raw, class_name),
        constraint=next((value for key, value in config.items() if value is not None and _is_constraint(key)), None),
    )


def _is_constraint(key: str) -> bool:
    return key.endswith("_constraint")


def is_custom(raw: dict[str, Any], class_name: str) -> bool:
    """Keras writes `registered_name` for classes that are not its own; older versions write "package>Class"."""
    module = raw.get("module")
    if isinstance(module, str):
        return not _within(module, _KERAS)
    return ">" in class_name or isinstance(raw.get("registered_name"), str)


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _nested(raw: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers directly inside one: their key in its config, and what the config says of them, in order."""
    config = raw.get("config")
    if isinstance(config, list):  # Keras 1 and early Keras 2 wrote a Sequential model as the bare list of its layers
        config = {"layers": config}
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if key.endswith(_NO_LAYER_KEYS):
            continue
        stack: list[object] = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, dict) and _is_layer(item, key):
                yield key, item
            elif not (isinstance(item, dict) and "class_name" in item):
                stack.extend(reversed(list(nested(item))))


def _is_layer(raw: dict[str, Any], key: str) -> bool:
    """Whether a serialized object is a layer: operations, initializers, policies and tensors are not."""
    config = raw.get("config")
    if not isinstance(raw.get("class_name"), str) or not isinstance(config, dict | list):
        return False
    module = raw.get("module")
    if isinstance(module, str) and _within(module, _KERAS):
        inside = module.partition("keras.")[2].removeprefix("src.")
        if not inside:
            return raw["class_name"] in ("Sequential", "Functional", "Model")
        return inside.split(".")[0] in ("layers", "models", "engine", "legacy")
    if key == "layers":
        return True
    name = config.get("name") if isinstance(config, dict) else None
    return isinstance(name, str) or isinstance(raw.get("name"), str)
