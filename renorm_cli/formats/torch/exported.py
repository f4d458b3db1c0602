"""The weights of a program that `torch.export.save` wrote, and the layers that its graph uses them as, by JSON files.

Source: torch/export/pt2_archive/_package.py and torch/_export/serde/schema.py of PyTorch 2.13.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.torch.tensors import Storage, Tensor
from renorm_cli.model.blocks import MOST_AXES
from renorm_cli.model.dtypes import DTYPES
from renorm_cli.model.variable import GraphUse
from renorm_cli.untrusted import JsonError, is_file_name, parse_json, quoted

FOLDER, GRAPHS = "data/weights/", "models/"
CONFIG = "_weights_config.json"

_DEPTH, _DEPTH_OF_GRAPHS = 8, 100
_SCALARS = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
"""The dtypes of `ScalarType`, by their numbers."""

_OPERATORS = "torch.ops.aten."
_TRANSPOSED = "ConvTranspose"
_LAYERS = {
    "linear": "Linear",
    "embedding": "Embedding",
    **{f"conv{rank}d": "Conv" for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _TRANSPOSED for rank in (1, 2, 3)},
}
"""The class of layer that uses its `weight` as an operator does, of convolutions without the number of their axes."""

_FACTORS = {"mm": ("self", "mat2"), "matmul": ("self", "other"), "addmm": ("mat1", "mat2")}
"""The factors of a product of matrices: rows of the first are units, columns of the second."""
_TURNS = frozenset(("t", "numpy_T", "mT", "transpose", "permute"))


def exported(
    configs: Mapping[str, bytes], graphs: Mapping[str, bytes], sizes: Mapping[str, int], shown: str
) -> list[tuple[str, Tensor]]:
    """The weights that configs tell of, each config by the name of its model; `sizes` are those of the storages.

    Where there are several models, names begin with theirs. Raises FormatError where a config is damaged; a graph that
    is damaged tells nothing.
    """
    storages: dict[str, Storage] = {}
    found: list[tuple[str, Tensor]] = []
    for model, content in configs.items():
        graph = _graph(graphs.get(model, b""))
        layers, uses = _layers(graph), _products(graph)
        for name, weight in _weights(content, shown):
            tensor = _tensor(weight, sizes, storages, f"{shown!r}: the weight {quoted(name)}")
            layer, tensor.groups = layers.get(name, (None, 1))
            is_conv = layer is not None and layer.startswith("Conv")
            tensor.layer = f"{layer}{len(tensor.size) - 2}d" if is_conv else layer
            tensor.use = uses.get(name) if len(tensor.size) == 2 else None
            found.append((name if len(configs) == 1 else f"{model}.{name}", tensor))
    return found


class _Graph(NamedTuple):
    """The names of parameters by those of their tensors; of each operator its name, its arguments, what it makes."""

    names: Mapping[str, str]
    nodes: Sequence[tuple[str, Mapping[str, Any], str]]


def _graph(content: bytes) -> _Graph:
    try:
        module = _at(parse_json(content, depth=_DEPTH_OF_GRAPHS), "graph_module")
    except JsonError:
        return _Graph({}, ())
    names = {
        _text(_at(spec, "parameter", "arg", "name")): _text(_at(spec, "parameter", "parameter_name"))
        for spec in _listed(_at(module, "signature", "input_specs"))
    }
    nodes = []
    for node in _listed(_at(module, "graph", "nodes")):
        operator = _text(_at(node, "target")).removeprefix(_OPERATORS).partition(".")[0]
        given = {_text(_at(each, "name")): _at(each, "arg") for each in _listed(_at(node, "inputs"))}
        (made,) = _listed(_at(node, "outputs"))[:1] or [None]
        nodes.append((operator, given, _text(_at(made, "as_tensor", "name"))))
    names.pop("", None)
    return _Graph(names, nodes)


def _layers(graph: _Graph) -> dict[str, tuple[str, int]]:
    """The class of layer that a graph uses each weight as, and its groups.

    A weight of several layers is an embedding where one of them is, and is open where only one of them is transposed.
    """
    found: dict[str, set[tuple[str, int]]] = {}
    for used, layer, groups in _used(graph):
        if used in graph.names:
            found.setdefault(graph.names[used], set()).add((layer, groups))
    return {name: _one(ways) for name, ways in found.items()}


def _one(ways: Collection[tuple[str, int]]) -> tuple[str, int]:
    if len(ways) > 1 and any(layer == _TRANSPOSED for layer, _ in ways):
        return _TRANSPOSED, 0
    return min(ways)


def _used(graph: _Graph) -> Iterator[tuple[str, str, int]]:
    """The tensors that operators take as their `weight`: the name, the class of layer, and its groups."""
    for name, given, _ in graph.nodes:
        layer = _LAYERS.get(name)
        if layer is None and name != "convolution":
            continue
        if layer is None:
            layer = "Conv" if _at(given.get("transposed"), "as_bool") is False else _TRANSPOSED
        groups = _at(given["groups"], "as_int") if "groups" in given else 1
        yield _text(_at(given.get("weight"), "as_tensor", "name")), layer, groups if isinstance(groups, int) else 0


def _products(graph: _Graph) -> dict[str, GraphUse]:
    """How a graph uses matrices as factors, as they are stored or with their axes exchanged.

    One that is used along both of its axes has none that name units. A product of two weights tells nothing.
    """
    turned = dict.fromkeys(graph.names, False)
    weights = dict(graph.names)
    found: dict[str, set[tuple[int, str]]] = {}
    for operator, given, made in graph.nodes:
        tensors = [_text(_at(given.get(one), "as_tensor", "name")) for one in _FACTORS.get(operator, ("self",))]
        if operator in _TURNS and tensors[0] in weights and made and made not in weights:
            weights[made], turned[made] = weights[tensors[0]], turned[tensors[0]] != _exchanges(operator, given)
        factors = [one in weights for one in tensors]
        if operator in _FACTORS and sum(factors) == 1:
            place = factors.index(True)
            axis = 1 - place if turned[tensors[place]] else place
            found.setdefault(weights[tensors[place]], set()).add((axis, operator))
    return {name: _use(ways) for name, ways in found.items()}


def _exchanges(operator: str, given: Mapping[str, Any]) -> bool:
    """Whether an operator that moves axes exchanges the two of a matrix."""
    if operator == "permute":
        dims = _at(given.get("dims"), "as_ints")
        return isinstance(dims, list) and dims[:1] in ([1], [-1])
    dims = [_at(given.get(one), "as_int") for one in ("dim0", "dim1")]
    return operator != "transpose" or len({one % 2 for one in dims if isinstance(one, int)}) == 2


def _use(ways: Collection[tuple[int, str]]) -> GraphUse:
    axes = {axis for axis, _ in ways}
    ops = tuple(sorted({operator for _, operator in ways}))
    return GraphUse("kernel", (axes.pop(),) if len(axes) == 1 else None, ops)


def _at(value: object, *keys: str) -> Any:
    """What is in an object in objects; None where it is not there."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _weights(content: bytes, shown: str) -> Iterable[tuple[str, Any]]:
    try:
        told = parse_json(content, depth=_DEPTH, strict=True)
    except JsonError as problem:
        raise FormatError(f"{shown!r}: what it tells of its weights {problem}") from None
    config = told.get("config") if isinstance(told, dict) else None
    if not isinstance(config, dict):
        raise FormatError(f"{shown!r} has no 'config' of its weights, which an exported program has")
    return config.items()


def _tensor(weight: object, sizes: Mapping[str, int], storages: dict[str, Storage], where: str) -> Tensor:
    told = weight if isinstance(weight, dict) else {}
    meta, key = told.get("tensor_meta"), told.get("path_name")
    if not isinstance(meta, dict) or not is_file_name(key) or FOLDER + key not in sizes:
        raise FormatError(f"{where} is in no file of {FOLDER!r}, or has no 'tensor_meta'")
    size, stride = _integers(meta.get("sizes")), _integers(meta.get("strides"))
    offsets = _integers([meta.get("storage_offset")])
    if size is None or stride is None or offsets is None or len(size) != len(stride):
        raise FormatError(f"{where} has no sizes, strides and offset that are integers")
    code = meta.get("dtype")
    dtype = _SCALARS.get(code, "no number") if isinstance(code, int) else "no number"
    width = DTYPES[dtype].nbytes if dtype in DTYPES else 1
    storage = storages.setdefault(key, Storage(dtype, FOLDER + key, sizes[FOLDER + key] // width))
    odd = "a pickle" if told.get("use_pickle") else None
    return Tensor(storage, offsets[0], size, stride, dtype, odd)


def _integers(values: object) -> tuple[int, ...] | None:
    """Sizes, each written as {"as_int": 5}; None where they are something else."""
    if not isinstance(values, list) or len(values) > MOST_AXES:
        return None
    found = [value.get("as_int") if isinstance(value, dict) else None for value in values]
    sizes = tuple(one for one in found if type(one) is int and 0 <= one < 1 << 62)
    return sizes if len(sizes) == len(found) else None
