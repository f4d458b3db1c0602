"""Imports point down, and heavy packages are imported only where they are used."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import renorm_cli

PACKAGE = Path(renorm_cli.__file__).parent

LINES = [
    {"__main__"},
    {"cli"},
    {"fleet"},
    {"api", "tf"},
    {"run", "comparison", "gate", "suggestion", "training"},
    {"plan", "norms", "formats", "render"},
    {"conventions", "storage"},
    {"model", "untrusted"},
    {"parallel", "text", "errors", "missing"},
]
"""Rooms from the top down: each may import what is on the lines below its own, and nothing on its own line."""

INNER = {
    "fleet": [
        {"drive", "cluster", "sharing"},
        {"question", "discover", "pool", "outcomes", "spool"},
        {"journal"},
        {"records"},
    ],
    "api": [
        {"verbs"},
        {"applying", "comparing", "suggesting"},
        {"measuring"},
        {"asked"},
        {"keywords"},
        {"report", "difference", "suggestion"},
    ],
    "cli": [
        {"app"},
        {"many"},
        {"groups", "help", "output"},
        {"targets"},
        {"again", "options", "words"},
        {"completion", "terminal", "signals"},
    ],
    "run": [
        {"session"},
        {"shares"},
        {"joint", "matrices", "provenance", "readings", "verify"},
        {"steps"},
        {"unit_norms"},
    ],
    "conventions": [{"identify"}, {"shapes", "slots", "graph", "names"}, {"keras", "torch", "flax", "gguf"}],
    "formats": [
        {"registry"},
        {"tfjs"},
        {"tensorflow", "orbax", "hub"},
        {"keras", "safetensors", "numpy", "flax", "gguf", "torch", "onnx", "tflite"},
        {"hdf5", "zip", "mistaken", "shard_index", "sent"},
        {"plain"},
        {"numbers"},
        {"base", "model_config"},
        {"frameworks", "walk", "node_graph"},
        {"apart", "endings", "folders", "location", "naming", "protobuf", "tiling"},
    ],
    "norms": [
        {"measure"},
        {"spectral"},
        {"engines", "power_sums"},
        {"policy", "exact", "rounding", "distribution"},
        {"powers"},
        {"error_free"},
    ],
    "render": [
        {"registry"},
        {"terminal", "data", "ci", "page"},
        {"sentences", "problems", "diff_columns", "diff_sentences", "earlier", "suggested"},
        {"columns"},
    ],
}
"""The same inside of the larger rooms."""

HEAVY = {
    "tensorflow": {
        "norms/engines/tensorflow_engine.py",
        *(f"training/{name}.py" for name in ("arguments", "callback", "clip", "function", "gradient")),
        *(f"training/{name}.py" for name in ("products", "squares", "traced")),
    },
    "keras": {f"training/{name}.py" for name in ("callback", "constraint", "live")},
    "distributed": {"fleet/cluster.py"},
    "h5py": {"formats/hdf5/server.py"},
    "tensorstore": {"formats/orbax/worker.py"},
    "jinja2": {"render/page/page.py"},
    "rich": {"render/terminal/progress.py"},
    "typer": {"cli/app.py", "cli/completion.py", "cli/help.py", "cli/options.py"},
}


@cache
def imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def climbs(place: str, found: list[str]) -> list[str]:
    """Those of the imports that a module at `place` ("render.ci.github") may not make."""
    return [
        name for name in found if name.startswith("renorm_cli.") and not _may(place, name.removeprefix("renorm_cli."))
    ]


def _may(place: str, name: str) -> bool:
    (here, *inside), (there, *deeper) = place.split("."), name.split(".")
    if there.startswith("_"):
        return True  # what the package itself holds
    if here != there:
        return _line(LINES, here) < _line(LINES, there)
    if here not in INNER or not inside or not deeper or inside[0] == deeper[0]:
        return True
    return _line(INNER[here], inside[0]) < _line(INNER[here], deeper[0])


def _line(lines: list[set[str]], room: str) -> int:
    return next(number for number, rooms in enumerate(lines) if room in rooms)


def place(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.name != "__init__.py"]


def test_imports_point_down() -> None:
    found = {place(path): climbs(place(path), imports(path)) for path in sources()}
    assert {room: upward for room, upward in found.items() if upward} == {}


def test_an_import_that_points_up_or_sideways_would_be_found() -> None:
    found = ["renorm_cli.run.steps.run", "renorm_cli.errors.UsageError", "numpy", "renorm_cli.formats.base.Sink"]
    assert climbs("norms.policy", found) == ["renorm_cli.run.steps.run", "renorm_cli.formats.base.Sink"]
    found = ["renorm_cli.render.page.charts", "renorm_cli.render.ci.sarif", "renorm_cli.render.columns.COLUMNS"]
    assert climbs("render.ci.github", found) == ["renorm_cli.render.page.charts"]
    found = ["renorm_cli.formats.tensorflow.names.name_variables", "renorm_cli.formats.hdf5.store.Hdf5Data"]
    assert climbs("formats.keras.archive", found) == ["renorm_cli.formats.tensorflow.names.name_variables"]


def test_every_room_has_its_line() -> None:
    rooms = {place(path).split(".")[0] for path in sources()}
    assert rooms == set().union(*LINES)
    for room, lines in INNER.items():
        inside = {place(path).split(".")[1] for path in sources() if place(path).startswith(f"{room}.")}
        assert inside == set().union(*lines)


def test_a_heavy_package_is_imported_only_in_its_room() -> None:
    users: dict[str, set[str]] = {package: set() for package in HEAVY}
    for path in sources():
        for package in {name.split(".")[0] for name in imports(path)} & HEAVY.keys():
            users[package].add(str(path.relative_to(PACKAGE)))
    assert users == HEAVY
