"""Names, roles and layers of the tensors of a TensorFlow checkpoint.

Keys are the checkpoint's own ("model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"). Friendly names are the
names of the variables ("dense/kernel"), which the object graph holds; in a TF1 checkpoint they are the keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.conventions.keras.layers import CONTAINERS, ROLES, find_weight, suffixes
from renorm_cli.conventions.slots import AVERAGE
from renorm_cli.errors import FormatError, some_names
from renorm_cli.formats.naming import Naming, from_names, lora_notes, normalization_notes, plain_name, unique_names
from renorm_cli.formats.tensorflow.bundle import MAX_AXES, Bundle
from renorm_cli.formats.tensorflow.keras_metadata import LayerFacts
from renorm_cli.formats.tensorflow.lost_names import SlotNames, names_by_scopes, names_by_slots, path_of, without_model
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph, einsum_keys, full_names, walked_keys
from renorm_cli.formats.tensorflow.optimizer_state import is_average, plain_key, states
from renorm_cli.model.coverage import is_matrix
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.plan import Note
from renorm_cli.model.variable import GraphUse, Hint, Variable
from renorm_cli.text import by_number

if TYPE_CHECKING:
    from renorm_cli.formats.tensorflow.graph_uses import GraphUses

_NO_NAME = re.compile(r"Variable(_[0-9]+)?")
_TOO_MANY_AXES = f"it has more than {MAX_AXES} axes"
_EXPORTED = re.compile(r"\A(_all_)?variables/[0-9]+\Z")

_Twin = tuple[str, str]


def name_variables(
    bundle: Bundle,
    graph: ObjectGraph | None,
    layers: Mapping[str, LayerFacts],
    *,
    exported: bool,
    untrained: Collection[str] = (),
    uses: Callable[[], GraphUses] | None = None,
) -> Naming:
    """Every tensor of the checkpoint; a partitioned tensor once.

    They are in the order of the model: that of its objects or else of its graph, where these are known, then in natural
    order of the keys; what an optimizer keeps comes last. Names come from `graph`. If two tensors share a name, each is
    named by its key without "/.ATTRIBUTES/VARIABLE_VALUE", and the shared name is an alias. `layers` and `untrained`
    (variables that the model does not train) are by key. `uses` reads what the model's graph tells; it is called only
    where `layers` leave the unit axes of a matrix open, and a graph that is damaged or too large tells nothing. With
    `exported`, for a SavedModel, the two copies that Keras 3 stores of each weight are twins: they are in `variables/N`
    and `_all_variables/M`, in any order, and are matched by their places in the graph or else by name, shape and dtype
    (and later by bytes). The copies in `_all_variables` come after all weights.
    """
    named = full_names(graph) if graph is not None else {}
    drafts = [
        Variable(
            plain_name(named.get(entry.key, "")) or plain_key(entry.key),
            entry.key,
            entry.shape,
            entry.dtype,
            locked=_TOO_MANY_AXES if len(entry.shape) > MAX_AXES else None,
        )
        for entry in sorted(bundle.entries, key=lambda entry: by_number(entry.key))
    ]
    found = states(drafts, graph)
    lost = _shared(drafts, found) if graph is not None else frozenset()
    by_slots = names_by_slots(graph) if graph is not None and lost else SlotNames()
    names = {key: name for key, name in by_slots.names.items() if key in lost}
    unsure = names.keys() - by_slots.certain
    einsums = einsum_keys(graph) if graph is not None else frozenset()
    identified: dict[str, Variable] = {}

    def identify(draft: Variable) -> None:
        variable = _identified(_named(draft, names.get(draft.key, draft.name)), layers.get(draft.key))
        if draft.key in unsure and variable.hint.source == "name":
            variable = replace(variable, hint=replace(variable.hint, layer=None))
        if draft.key in einsums and variable.hint.layer is None:
            variable = replace(variable, hint=replace(variable.hint, layer="EinsumDense"))
        state = found.get(draft.key)
        identified[draft.key] = variable if state is None else replace(variable, state=state)

    for draft in drafts:
        identify(draft)
    told = _read_uses(uses if any(map(_is_open, identified.values())) else None)
    by_scopes = names_by_scopes(told.places, {draft.key: draft.name for draft in drafts if draft.key in lost})
    names.update(by_scopes)
    unsure -= by_scopes.keys()
    for draft in drafts:
        if draft.key in by_scopes:
            identify(draft)
    twins, open_names = _twins(drafts, told.copies) if exported else ((), ())
    seconds = {second for _, second in twins}
    used = {**told.uses, **{second: told.uses[first] for first, second in twins if first in told.uses}}
    places = walked_keys(graph) if graph is not None else {key: at for at, key in enumerate(told.uses)}
    last = seconds | {key for key, variable in identified.items() if variable.state == "optimizer"}
    drafts.sort(key=lambda draft: (draft.key in last, places.get(draft.key, len(places))))
    variables = [_used(identified[draft.key], used.get(draft.key), draft.key not in untrained) for draft in drafts]
    if graph is not None:
        model = without_model({each.name for each in variables if _is_weight(each) and each.key not in seconds})
        variables = [_named(each, each.name.removeprefix(model)) for each in variables]
    variables = [_renamed(variable, variable.key in seconds) for variable in variables]
    unique = _with_aliases(unique_names(variables, lambda variable: path_of(variable.key)), drafts, lost)
    of_layers = (*lora_notes(unique), *normalization_notes(unique))
    notes = (*_average_notes(unique), *_export_notes(open_names), *of_layers, *told.notes)
    return Naming(unique, twins, notes)


def _shared(variables: Iterable[Variable], states: Collection[str]) -> frozenset[str]:
    """The keys of weights that share their name with another one."""
    by_name: dict[str, list[str]] = {}
    for variable in variables:
        if variable.key not in states:
            by_name.setdefault(variable.name, []).append(variable.key)
    return frozenset(key for keys in by_name.values() if len(keys) > 1 for key in keys)


def _named(variable: Variable, name: str) -> Variable:
    """The variable under this name, with the one it had as an alias."""
    return (
        variable if name == variable.name else replace(variable, name=name, aliases=(*variable.aliases, variable.name))
    )


def _is_weight(variable: Variable) -> bool:
    """Whether it is a weight that has a name."""
    return variable.state is None and variable.dtype in FLOATS and variable.name != plain_key(variable.key)


def _is_open(variable: Variable) -> bool:
    """Whether a graph could tell more of a matrix than names and layers do.

    A matrix that nothing but its own name takes for a bias or a scale can be a kernel.
    """
    if len(variable.shape) < 2 or variable.dtype not in FLOATS or variable.state is not None:
        return False
    if role_of(variable) not in ("kernel", "embedding", "unknown"):
        return variable.hint.layer is None and sum(length > 1 for length in variable.shape) > 1
    return unit_axes(variable)[1] != "layer"


class _Told(NamedTuple):
    """What the model's graph tells: uses by key, copies of one weight, the places of ops by key, and notes."""

    uses: Mapping[str, GraphUse] = {}
    copies: tuple[_Twin, ...] = ()
    places: Mapping[str, str] = {}
    notes: tuple[Note, ...] = ()


def _read_uses(read: Callable[[], GraphUses] | None) -> _Told:
    """What the graph tells, or a note if it cannot be read."""
    if read is None:
        return _Told()
    from renorm_cli.formats.node_graph import told_use, use_notes  # most checkpoints have no graph

    try:
        found = read()
    except FormatError as error:
        return _Told(notes=(Note(f"the graph tells nothing of the weights: {error}"),))
    uses = {key: told for key, use in found.uses.items() if (told := told_use(use)) is not None}
    return _Told(uses, found.copies, found.places, use_notes({}, found.spent))  # names may tell what the graph does not


def _used(variable: Variable, use: GraphUse | None, trained: bool) -> Variable:
    """The variable with its use. One that the graph's optimizers alone change is their state.

    One that the model does not train is state, unless its name tells what it is or the graph uses it as a weight: then
    it is frozen.
    """
    state = variable.state
    if state is None and use is not None and use.role == "optimizer":
        state = "optimizer"
    elif state is None and not trained and not _is_identified(variable):
        used = use is not None and use.unit_axes is not None and is_matrix(variable, use.role)
        state = None if used else "state"
    changed = use is not None or state != variable.state
    return replace(variable, use=use or variable.use, state=state) if changed else variable


def _renamed(variable: Variable, second: bool) -> Variable:
    """Name a variable by its key if its name says nothing, or if it is the `second` copy."""
    nameless = _NO_NAME.fullmatch(variable.name.rpartition("/")[2])
    return _named(variable, path_of(variable.key)) if second or nameless else variable


def _with_aliases(
    variables: Sequence[Variable], drafts: Sequence[Variable], lost: Collection[str]
) -> tuple[Variable, ...]:
    """The variables, with their names in the graph as aliases; where those say too little, with their keys too."""
    found = []
    for variable, draft in zip(variables, drafts, strict=True):
        untold = variable.key in lost or variable.name == path_of(variable.key)
        by_key = (plain_key(variable.key),) if untold else ()
        labels = dict.fromkeys((*variable.aliases, draft.name, *by_key))
        aliases = tuple(label for label in labels if label not in (variable.name, variable.key))
        found.append(variable if aliases == variable.aliases else replace(variable, aliases=aliases))
    return tuple(found)


def _identified(variable: Variable, facts: LayerFacts | None) -> Variable:
    """The variable with its layer and weight, from the model's own description or else from default names.

    A weight of a known class counts if it fits the shape. For a class that is not known, the weight keeps its name.
    """
    if facts is not None:
        known = find_weight(facts.layer, facts.weight)
        if known is not None and known.fits(variable.shape):
            return replace(
                variable,
                hint=Hint(layer=facts.layer, weight=known.name, equation=facts.equation),
                declared=facts.declared,
            )
    named = _by_names(variable)
    if facts is None or known is not None or facts.layer in CONTAINERS:
        return named
    weight = facts.weight if not _is_identified(named) else named.hint.weight
    return replace(named, hint=Hint(layer=facts.layer, weight=weight, equation=facts.equation), declared=facts.declared)


def _by_names(variable: Variable) -> Variable:
    """The variable identified by its own name or, if that says nothing, by the attributes that lead to it."""
    named = from_names(variable, variable.name.removesuffix(f"/{AVERAGE}"))
    if _is_identified(named):
        return named
    attributes = "/".join(part.lstrip("_") for part in plain_key(variable.key).split("/"))
    by_attributes = from_names(variable, attributes)
    return by_attributes if _is_identified(by_attributes) else named


def _is_identified(variable: Variable) -> bool:
    """Whether the weight's name identifies it."""
    layer, weight = variable.hint.layer, variable.hint.weight
    if weight is None:
        return False
    return any(end in ROLES for end in suffixes(weight)) or (
        layer is not None and find_weight(layer, weight) is not None
    )


def _twins(variables: Sequence[Variable], copies: Iterable[_Twin]) -> tuple[tuple[_Twin, ...], tuple[str, ...]]:
    """Pairs of copies in the two lists of a Keras 3 export, and the names that several weights share in a list.

    `copies` are pairs by their places in the graph. Only variables in the two lists are paired, because unrelated
    variables can share a name.
    """
    listed = {each.key: found for each in variables if (found := _EXPORTED.fullmatch(plain_key(each.key)))}
    dtypes = {variable.key: variable.dtype for variable in variables}
    placed: dict[str, str] = {}
    for key, copy in copies:
        lists = [bool(listed[each][1]) for each in (key, copy) if each in listed and each not in placed]
        if lists == [False, True] and dtypes[key] == dtypes[copy]:
            placed |= {key: copy, copy: key}
    alike: dict[tuple[object, ...], tuple[list[Variable], list[Variable]]] = {}
    for variable in variables:
        if variable.key in listed and variable.key not in placed:
            kind = (variable.name, variable.shape, variable.dtype)
            alike.setdefault(kind, ([], []))[1 if listed[variable.key][1] else 0].append(variable)
    both = [lists for lists in alike.values() if all(lists)]
    by_place = tuple((key, copy) for key, copy in placed.items() if not listed[key][1])
    by_name = tuple((first[0].key, second[0].key) for first, second in both if len(first) == len(second) == 1)
    pairs = (*by_place, *by_name)
    shared = tuple(dict.fromkeys(first[0].name for first, second in both if len(first) + len(second) > 2))
    return pairs, shared


def _export_notes(names: Sequence[str]) -> tuple[Note, ...]:
    if not names:
        return ()
    text = "several weights of this export share the name, so which copies belong together is open"
    return (
        Note(f"{some_names(names)}: {text}; select them by this name, so that all are bounded alike", warning=True),
    )


def _average_notes(variables: Iterable[Variable]) -> tuple[Note, ...]:
    names = [variable.name for variable in variables if variable.state == "optimizer" and is_average(variable)]
    if not names:
        return ()
    text = "moving averages of weights, not bounded by default; where a program takes them in place of the weights, as"
    return (Note(f"{some_names(names)}: {text} training with averages does, the bound is undone", warning=True),)
