"""Names for Keras v3 weights (`.weights.h5`, `.keras`): the file numbers the weights and names groups by attributes.

Layout (keras.src.saving.saving_lib): `<group>/vars/<i>`, one group per attribute that leads to a layer; the layers of a
list are groups named by their class in snake case and a counter. Keras >= 3.6 writes the layer's own name as the
attribute `name` of its `vars` group, also for layers without weights; tf_keras and older Keras do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from renorm_cli.conventions.keras.layers import CONTAINERS, LAYERS, PARTS, class_from_name, snake_case
from renorm_cli.conventions.keras.stored import biased, cell_class, holds_quantized, is_quantized, stored_weights
from renorm_cli.formats.hdf5.naming import name_plainly
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.keras.config import LayerNode
from renorm_cli.formats.keras.constraints import declared_for
from renorm_cli.formats.keras.siblings import SiblingNames, base_name
from renorm_cli.formats.naming import Naming, spectral_notes, unique_names
from renorm_cli.model.identity import Role
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.text import by_number

Shape = tuple[int, ...]

_LISTS = ("layers", "_layer_checkpoint_dependencies", "cells")
_METRICS = ("metrics", "_metrics", "_compile_metrics", "compiled_metrics", "_loss_tracker")
_SIDES = {"forward_layer": "forward_", "backward_layer": "backward_"}


@dataclass(frozen=True, slots=True)
class _Place:
    """What a group is: a layer under its friendly path, or (`in_list`) a list of layers of the layer it names.

    `part` is set where the group holds a part of the layer (the cell of an LSTM); `""` stands for the root. `likely`
    is a class that only names its weights: whose it is, and so how their axes lie, is open. `within` is the path with
    the names of all models: Keras' own paths leave out those of functional ones, whose layers are built before them.
    """

    path: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    node: LayerNode | None = None
    layer: str | None = None
    told: bool = False
    custom: bool = False
    part: str | None = None
    likely: bool = False
    in_list: str | None = None
    state: Role | None = None


def name_variables(survey: Survey, config: LayerNode | None) -> Naming:
    """Names, layers and weights of a v3 weight file, as far as `config`, the attribute `name` and default names tell.

    They are in the order of the model, as far as that is known. Keys are dataset paths; names are those of Keras'
    `variable.path` without the name of the model: `bidirectional/forward_lstm/lstm_cell/kernel`. Weights of unknown
    classes keep their number, `my_layer/vars/0`.
    """
    return _Namer(survey, config).naming()


class _Namer:
    """One walk over one file: parents before children, every group once."""

    def __init__(self, survey: Survey, config: LayerNode | None) -> None:
        self._survey = survey
        self._config = config
        self._own: dict[str, list[Dataset]] = {}
        self._other: list[Dataset] = []
        for dataset in survey.datasets:
            group = _owner(dataset)
            self._other.append(dataset) if group is None else self._own.setdefault(group, []).append(dataset)
        for datasets in self._own.values():
            datasets.sort(key=lambda dataset: by_number(_address(dataset)))
        self._children = _tree({*self._own, *(_parent(path) for path in survey.names if _parent(path) is not None)})
        self._names = {group: name for path, name in survey.names.items() if (group := _parent(path)) is not None}
        self._siblings = SiblingNames(config)
        self._twins: list[tuple[str, ...]] = []
        self._spectral: list[str] = []

    def naming(self) -> Naming:
        variables: list[Variable] = []
        stack: list[tuple[str, _Place]] = [("", self._root())]
        while stack:
            group, place = stack.pop()
            variables.extend(self._variables(group, place))
            children = sorted(self._children.get(group, ()), key=by_number)
            nodes = self._siblings.match(_candidates(place), children, self._real_names(group, children))
            for child in reversed(_in_order(children, place, nodes)):
                stack.append((_join(group, child), self._place(group, place, child, nodes.get(child))))
        variables.extend(name_plainly(self._survey._replace(datasets=tuple(self._other))).variables)
        return Naming(unique_names(variables, _qualified), tuple(self._twins), spectral_notes(self._spectral))

    def _root(self) -> _Place:
        node = self._config
        if node is None:
            return _Place()
        return _Place(node=node, layer=node.class_name or None, told=True, custom=node.custom)

    def _real_names(self, group: str, children: list[str]) -> dict[str, str]:
        return {child: self._names[path] for child in children if (path := _join(group, child)) in self._names}

    # --- groups -> places

    def _place(self, group: str, parent: _Place, child: str, node: LayerNode | None) -> _Place:
        path = _join(group, child)
        state = parent.state or _state(path, self._names.get(path))
        if self._is_list(path, parent, child):
            named = () if child in _LISTS or self._names else (child,)
            return replace(
                parent,
                path=(*parent.path, *named),
                within=(*parent.within, *named),
                in_list=child,
                part=None,
                state=state,
            )
        if node is None and parent.in_list is None:
            node = _attribute(parent, child)
        real = self._names.get(path)
        if node is None and real and parent.custom and parent.node is not None:
            node = parent.node.first_named((real,))
        part = None if node is not None else _part(parent, child)
        name = real or _config_name(node, child, parent) or part or child
        unnamed = _is_functional(node, parent, child)
        here = _Place(path=parent.path if unnamed else (*parent.path, name), within=(*parent.within, name), state=state)
        if node is not None:
            state = state or ("quantized" if is_quantized(node.config) else None)
            return replace(here, node=node, layer=node.class_name or None, told=True, custom=node.custom, state=state)
        if part is not None:
            known = parent.layer in PARTS and not parent.custom
            mother = parent if known else _Place(layer="MultiHeadAttention", likely=True)
            return replace(
                here, layer=mother.layer, told=mother.told, part=part, node=mother.node, likely=mother.likely
            )
        return replace(here, layer=self._guess(path, child, real, in_list=parent.in_list is not None))

    def _is_list(self, path: str, parent: _Place, child: str) -> bool:
        """Whether the group is a list of layers; where names are written, every layer has one and lists have none."""
        if path in self._own or path in self._names:
            return False
        if self._names:
            return True
        if parent.in_list is not None:
            return base_name(child) == "container"
        if child in _LISTS:
            return True
        known = {snake_case(node.class_name) for node in parent.node.under(child)} if parent.node is not None else set()
        return any(base_name(item) in known for item in self._children.get(path, ()))

    def _guess(self, path: str, child: str, real: str | None, *, in_list: bool) -> str | None:
        """The class by the layer's name or the group's, if what is stored there fits.

        Groups in a list are named by the class. Others are named by attributes, which say less than the layer's own
        name where that is the default name of a class.
        """
        names = (child, real or "") if in_list else (real,) if real and class_from_name(_one_side(real)) else (child,)
        datasets = self._own.get(path, [])
        shapes = [dataset.shape for dataset in datasets]
        for name in names:
            known = class_from_name(_one_side(name))
            if known is None:
                continue
            if not datasets and (known in PARTS or known in CONTAINERS or known == "SpectralNormalization"):
                return known
            if stored_weights(known, shapes) or holds_quantized(known, shapes, [item.dtype for item in datasets]):
                return known
            if known == "SpectralNormalization" and len(datasets) == 2:
                return known
        return cell_class(shapes) if child == "cell" else None

    # --- places -> variables

    def _variables(self, group: str, place: _Place) -> list[Variable]:
        datasets = self._own.get(group, [])
        if not datasets:
            return []
        if place.layer == "SpectralNormalization" and not place.custom and len(datasets) == 2:
            return self._spectral_variables(group, place, datasets)
        shapes = [dataset.shape for dataset in datasets]
        names: tuple[str, ...] | None = None
        state = place.state
        if place.custom and state is None:
            place, names = self._foreign(group, place, shapes)
        elif place.layer is not None and state is None:
            if holds_quantized(place.layer, shapes, [dataset.dtype for dataset in datasets]):
                state = "quantized"
            else:
                config = place.node.config if place.node is not None else None
                names = stored_weights(place.layer, shapes, config, place.part)
        elif place.layer is None and state is None and group in self._names and biased(shapes):
            names = "kernel", "bias"
        weights: list[str | None] = [*names] if names is not None else [None] * len(datasets)
        return [
            self._variable(dataset, place, weight, state) for dataset, weight in zip(datasets, weights, strict=True)
        ]

    def _foreign(self, group: str, place: _Place, shapes: Sequence[Shape]) -> tuple[_Place, tuple[str, ...] | None]:
        """What a class that is not Keras' stores, if it is made from EinsumDense, or holds as its own what its layer
        would; and then as that layer.
        """
        node = place.node
        if node is None or node.equation is not None:
            return place, None if node is None else stored_weights("EinsumDense", shapes, node.config)
        inner = node.wrapped
        apart = any(_join(group, child) in self._own for child in self._children.get(group, ()))
        if inner is None or inner.custom or apart:
            return place, None
        names = stored_weights(inner.class_name, shapes, inner.config)
        return place if names is None else replace(place, node=inner, layer=inner.class_name, custom=False), names

    def _variable(self, dataset: Dataset, place: _Place, weight: str | None, state: Role | None) -> Variable:
        last = _last_parts(dataset) if weight is None else weight.rpartition("/")[2]
        aliases = dataset.links if place.path == place.within else (*dataset.links, "/".join((*place.within, last)))
        if place.layer is None and weight is not None:
            aliases = (*aliases, "/".join((*place.path, _last_parts(dataset))))
        return Variable(
            name="/".join((*place.path, last)),
            key=dataset.path,
            shape=dataset.shape,
            dtype=dataset.dtype,
            hint=Hint(
                layer=None if place.likely else place.layer,
                source="layer" if place.told else "name",
                weight=weight,
                equation=place.node.equation if place.node is not None else None,
            ),
            state=state,
            locked=dataset.locked,
            aliases=aliases,
            untold=dataset.untold,
            declared=declared_for(place.node, weight) if place.node is not None and state is None else None,
        )

    def _spectral_variables(self, group: str, place: _Place, datasets: list[Dataset]) -> list[Variable]:
        """SpectralNormalization stores the kernel of the layer it wraps a second time; on load the wrapped one wins."""
        inner = _join(group, "layer")
        wrapped = self._place(group, place, "layer", None)
        own = self._own.get(inner, [])
        kernel, vector = datasets
        twin = next((item for item in own if item.shape == kernel.shape and item.dtype == kernel.dtype), None)
        first = next((item for item in self._variables(inner, wrapped) if twin and item.key == twin.path), None)
        weight = first.hint.weight if first is not None else None
        if twin is not None:
            self._twins.append((twin.path, kernel.path))
        self._spectral.append("/".join(place.path))
        source = replace(wrapped if first is not None else place, path=place.path, within=place.within)
        return [
            self._variable(kernel, source, weight, first.state if first is not None else place.state),
            self._variable(vector, place, "vector_u", place.state),
        ]


def _one_side(name: str) -> str:
    """The name without what Bidirectional puts before those of its layers."""
    return name.removeprefix("forward_").removeprefix("backward_")


def _address(dataset: Dataset) -> str:
    """The path that follows the layout, of all hard links to the dataset."""
    return next((path for path in (dataset.path, *dataset.links) if _is_numbered(path)), dataset.path)


def _is_numbered(path: str) -> bool:
    parts = path.split("/")
    return len(parts) >= 2 and parts[-2] == "vars" and parts[-1].isascii() and parts[-1].isdigit()


def _owner(dataset: Dataset) -> str | None:
    """The group of the layer that stores the dataset; None for a dataset that is no v3 weight."""
    path = _address(dataset)
    return path.removesuffix(_last_parts(dataset)).rstrip("/") if _is_numbered(path) else None


def _last_parts(dataset: Dataset) -> str:
    return "/".join(_address(dataset).split("/")[-2:])


def _parent(path: str) -> str | None:
    """The group that owns the `vars` group at `path`."""
    head, _, last = path.rpartition("/")
    return head if last == "vars" else None


def _join(group: str, child: str) -> str:
    return f"{group}/{child}" if group else child


def _tree(groups: set[str | None]) -> Mapping[str, set[str]]:
    """Group -> its child groups, for all groups on the way to the given ones."""
    children: dict[str, set[str]] = {}
    for group in groups:
        path = group or ""
        while path:
            head, _, last = path.rpartition("/")
            known = children.setdefault(head, set())
            if last in known:
                break
            known.add(last)
            path = head
    return children


def _is_functional(node: LayerNode | None, parent: _Place, child: str) -> bool:
    """Whether a group is a functional model inside another model; in lists it is named by its class."""
    if node is not None:
        return node.class_name == "Functional" and not node.custom
    return parent.in_list == "layers" and base_name(child) == "functional"


def _candidates(place: _Place) -> tuple[LayerNode, ...]:
    """The nodes of the config that the groups inside this one can be."""
    if place.node is None or place.in_list is None:
        return ()
    key = "layers" if place.in_list == "_layer_checkpoint_dependencies" else place.in_list
    return place.node.under(key)


def _in_order(children: list[str], place: _Place, nodes: Mapping[str, LayerNode]) -> list[str]:
    """Groups in the order of the model: of the layers in its config, of the parts of a layer; the rest as stored."""
    layers = {id(node): at for at, node in enumerate(_candidates(place))}
    parts = {part: at for at, part in enumerate((*_SIDES, *PARTS.get(place.layer or "", ())))}

    def rank(child: str) -> tuple[int, int]:
        node = nodes.get(child)
        return layers.get(id(node), len(layers)), parts.get(child.lstrip("_"), len(parts))

    return sorted(children, key=rank)


def _attribute(parent: _Place, child: str) -> LayerNode | None:
    """The node an attribute holds: `layer`, `cell`, `forward_layer`, or any that the config has under its name."""
    if parent.node is None:
        return None
    for key in (child, child.lstrip("_"), "layer" if child in _SIDES else ""):
        nodes = parent.node.under(key) if key else ()
        if len(nodes) == 1:
            return nodes[0]
    return None


def _config_name(node: LayerNode | None, child: str, parent: _Place) -> str | None:
    if node is None:
        return None
    if child in _SIDES and node.key == "layer" and parent.layer == "Bidirectional":
        return _SIDES[child] + node.name.removeprefix(_SIDES[child])
    return node.name or None


def _part(parent: _Place, child: str) -> str | None:
    """The part of its layer that an attribute holds; the attributes of attention are telling without the layer."""
    attribute = child.lstrip("_")
    if parent.in_list is not None:
        return None
    if parent.layer in PARTS and not parent.custom:
        return PARTS[parent.layer].get(attribute)
    if parent.layer in LAYERS and not parent.custom:
        return None
    return PARTS["MultiHeadAttention"].get(attribute)


def _state(path: str, name: str | None) -> Role | None:
    top = path.split("/", 1)[0]
    if top == "optimizer":
        return "optimizer"
    if top in _METRICS or "seed_generator" in (name, path.rpartition("/")[2]):
        return "state"
    return None


def _qualified(variable: Variable) -> str:
    """The group's own path instead of the layer's name."""
    weight = variable.hint.weight
    if weight is None or not _is_numbered(variable.key):
        return variable.key
    return f"{variable.key.rsplit('/', 2)[0]}/{weight.rpartition('/')[2]}"
