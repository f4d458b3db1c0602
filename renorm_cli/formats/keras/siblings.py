"""Which layer of the config a group of a v3 weight file is, among the layers of one list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from renorm_cli.conventions.keras.layers import snake_case
from renorm_cli.formats.keras.config import LayerNode


def base_name(group: str) -> str:
    """The group's name without its counter: "dense_1" -> "dense"."""
    return re.sub(r"_[0-9]+\Z", "", group)


class SiblingNames:
    """Matches groups and layers of one list: by the layer's real name where the file has it, else by the counter.

    A layer that is used twice is stored where it is first met. At its second place Keras' counter goes on without a
    group, tf_keras' counter does not; which of them wrote the file shows in the groups that are there.
    """

    def __init__(self, config: LayerNode | None) -> None:
        self._repeated = _repeated(config) if config is not None else frozenset()

    def match(
        self, nodes: Sequence[LayerNode], groups: Iterable[str], real_names: Mapping[str, str]
    ) -> dict[str, LayerNode]:
        """The node of each group that has one."""
        by_name = {node.name: node for node in reversed(nodes) if node.name}
        matched = {group: by_name[real_names[group]] for group in groups if real_names.get(group, "") in by_name}
        left = [group for group in groups if group not in real_names]
        if left:
            alike: dict[str, list[LayerNode]] = {}
            for node in nodes:
                alike.setdefault(snake_case(node.class_name), []).append(node)
            for kind, present in _by_class(left).items():
                matched.update(self._by_counter(kind, alike.get(kind, ()), present))
        return matched

    def _by_counter(self, kind: str, alike: Sequence[LayerNode], present: frozenset[str]) -> dict[str, LayerNode]:
        counted = _counted(kind, [node for node in alike if id(node) not in self._repeated])
        if present != counted.keys():
            counted = _counted(kind, alike)
        return {group: node for group, node in counted.items() if group in present}


def _counted(kind: str, nodes: Iterable[LayerNode]) -> dict[str, LayerNode]:
    return {f"{kind}_{index}" if index else kind: node for index, node in enumerate(nodes)}


def _by_class(groups: Iterable[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group in groups:
        found.setdefault(base_name(group), set()).add(group)
    return {kind: frozenset(present) for kind, present in found.items()}


def _repeated(config: LayerNode) -> frozenset[int]:
    """Nodes whose class and name came before, in the order of saving: the same layer met again."""
    seen: Counter[tuple[str, str]] = Counter()
    repeated: set[int] = set()
    stack = [config]
    while stack:
        node = stack.pop()
        if node.name:
            if seen[node.class_name, node.name]:
                repeated.add(id(node))
            seen[node.class_name, node.name] += 1
        stack.extend(reversed(node.children))
    return frozenset(repeated)
