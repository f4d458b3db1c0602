"""HDF5 files with hostile names, numbers, attributes and graphs of objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from hostile.frame import Case
from hostile.h5_build import KERNEL, Fill, h5, patched, same_but_kernels

# Walks (THREATS D4)


def _cycle(file: h5py.File, inside: Path) -> None:
    file["a/b/c/kernel"] = KERNEL
    file["a/b/up"] = file["a"]
    file["a/root"] = file["/"]
    file["a/self"] = file["a"]


def _lattice(file: h5py.File, inside: Path) -> None:
    group = file.create_group("g0")
    for _ in range(40):
        below = group.create_group("left")
        group["right"] = below
        group = below
    group["kernel"] = KERNEL


def _deep(count: int, name: str = "g") -> Fill:
    def fill(file: h5py.File, inside: Path) -> None:
        group = file["/"]
        for _ in range(count):
            group = group.create_group(name)
        group["kernel"] = KERNEL

    return fill


def _many_groups(file: h5py.File, inside: Path) -> None:
    for number in range(10_000):
        file.create_group(f"g{number}")


def _many_links(file: h5py.File, inside: Path) -> None:
    group = file["dense"]
    kernel = group["kernel"].id
    for number in range(20_000):
        h5py.h5o.link(kernel, group.id, b"z%d" % number)


def _wide_names(file: h5py.File, inside: Path) -> None:
    """Paths grow with the square of the depth: 100 groups of 60,000 characters make paths of 300 MB."""
    group = file["/"]
    for _ in range(100):
        group = group.create_group("n" * 60_000)
        for number in range(4):
            group.create_group(f"x{number}")


def _no_names(file: h5py.File, inside: Path) -> None:
    file["a-b"] = KERNEL


_WALKS = (
    Case("h5-hard-link-cycle", "groups inside themselves", h5(_cycle), "handled", untouched=same_but_kernels),
    Case("h5-lattice", "2**40 paths lead to one dataset", h5(_lattice), "handled", untouched=same_but_kernels),
    Case("h5-deep-900", "900 groups inside each other", h5(_deep(900)), "handled"),
    Case("h5-deep-3000", "3,000 groups inside each other", h5(_deep(3000)), "error", "nested more than 1000 deep"),
    Case("h5-10000-groups", "10,000 empty groups", h5(_many_groups, libver="latest"), "handled", commands=("apply",)),
    Case(
        "h5-20000-links",
        "20,000 names of one dataset",
        h5(_many_links, libver="latest"),
        "handled",
        commands=("apply", "json"),
    ),
    Case(
        "h5-names-of-300-mb",
        "names that multiply with the depth",
        h5(_wide_names, libver="latest"),
        "error",
        "its names take more than 64 million characters",
        commands=("inspect",),
    ),
    Case(
        "h5-name-is-path",
        "a member called a/b",
        patched(h5(_no_names), (b"a-b\0", b"a/b\0")),
        "error",
        "a name that is a path",
    ),
    Case(
        "h5-name-is-dot",
        "a member called .",
        patched(h5(_no_names), (b"a-b\0", b".\0b\0")),
        "error",
        "a name that is a path",
    ),
    Case(
        "h5-name-is-empty",
        "a member without a name",
        patched(h5(_no_names), (b"a-b\0", b"\0-b\0")),
        "error",
        "model.h5",
    ),
)

# Names (THREATS D6, F1 to F7)

_SHOWN = ("inspect", "apply", "json", "csv", "md", "junit", "html")


def _named(name: str | bytes) -> Callable[[Path], Path]:
    """Every place a name can stand: group, dataset, soft link and its target, attributes."""

    def fill(file: h5py.File, inside: Path) -> None:
        raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
        above = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        above.set_create_intermediate_group(True)
        group = h5py.h5g.create(file.id, raw, lcpl=above)
        h5py.Group(group)["kernel"] = KERNEL
        kind, space = h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2, 2))
        h5py.Dataset(h5py.h5d.create(group, raw, kind, space, lcpl=above))[...] = 1
        file.id.links.create_soft(b"soft" + raw.replace(b"/", b"-"), b"/" + raw)

    return h5(fill)


def _keras_named(name: str) -> Callable[[Path], Path]:
    def fill(file: h5py.File, inside: Path) -> None:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = KERNEL, KERNEL[0]
        file["layers/dense/vars"].attrs["name"] = name

    return h5(fill, "model.weights.h5", sound=False)


def _name_case(label: str, attack: str, name: str | bytes) -> Case:
    return Case(f"h5-name-{label}", attack, _named(name), "handled", commands=_SHOWN)


_NAMES = (
    _name_case("escape", "ANSI escapes clear the screen and set its title", "\x1b[2J\x1b]0;owned\x07"),
    _name_case(
        "osc8",
        "an OSC 8 link hides its address, OSC 52 writes the clipboard",
        "\x1b]8;;http://x\x07a\x1b]52;c;aGk=\x07",
    ),
    _name_case("c1", "C1 control characters are escapes too", "\u009b2J\u0090q\u009c"),
    _name_case("cr-bs", "carriage return and backspace write over the line", "bad\rgood\x08\x08\x7f"),
    _name_case("newline", "a name of two lines forges a line of the report", "a\nwrote /etc/passwd\nb"),
    _name_case("separators", "Unicode's own line and paragraph ends", "a\u2028b\u2029c\x85d"),
    _name_case("bidi", "a right-to-left override turns the text around", "a\u202egnp.exe\u2066x"),
    _name_case("zero-width", "zero-width characters make two names look alike", "ker\u200bnel\ufeff\u00ad\U000e0041"),
    _name_case("markup", "rich markup that would be obeyed, or raise", "[bold]x[/nope][link=http://x]"),
    _name_case("workflow", "a GitHub workflow command at the start of a line", "::error file=x::owned"),
    _name_case("workflow-anywhere", "a runner command anywhere in a line", "x ##[error]owned ##vso[task.setvariable]"),
    _name_case("formula", "a spreadsheet formula", '=cmd|"/c calc"!A1'),
    _name_case("formula-tab", "a formula behind a tab", "\t@SUM(1)"),
    _name_case("html", "a script for a page", "<script>alert(1)</script>\"'&"),
    _name_case("html-short", "markup in a name that is not cut", "<b>owned</b>"),
    _name_case("template", "an expression of the templates that make the page", "{{ 7 * 191 }}{% for x in y %}"),
    _name_case("markdown", "Markdown that ends its code span and its cell", "`|x|` ![a](http://x)"),
    _name_case("percent", "format strings", "%s%n{0.__class__}$(id)`id`"),
    _name_case("no-utf8", "bytes that are not UTF-8", b"\xff\xfe\x80"),
    _name_case("surrogate", "an encoded surrogate", b"\xed\xa0\x80\xed\xb0\x80"),
    _name_case("long", "a name of 60,000 characters", "n" * 60_000),
    _name_case("wide", "1,000 combining marks and wide characters", "e" + "\u0301" * 1000 + "\u4e2d" * 1000),
    _name_case("absolute", "a name that looks like a path of this machine", b"etc\\passwd .. ~root"),
    Case(
        "h5-v3-name-escape",
        "the attribute `name` of a layer holds escapes",
        _keras_named("\x1b[2J\nx"),
        "handled",
        commands=_SHOWN,
    ),
    Case("h5-v3-name-path", "the attribute `name` is a path", _keras_named("../../../x"), "handled", commands=_SHOWN),
    Case("h5-v3-name-empty", "the attribute `name` is empty", _keras_named(""), "handled", commands=_SHOWN),
    Case(
        "h5-selector-backtracks",
        "a name on which a regular expression of the pattern takes 2**n steps",
        _named("a" * 5000),
        "error",
        "*a*a*a",
        commands=("apply",),
        options=("-i", "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"),
    ),
)

# Numbers (THREATS E4, E5)


def _values(values: np.ndarray, **options: object) -> Callable[[Path], Path]:
    return h5(lambda file, inside: file.create_dataset("x/kernel", data=values, **options))


def _norms_hold(source: Path, output: Path) -> None:
    same_but_kernels(source, output)
    with h5py.File(output) as file:
        values = file["x/kernel"][()].astype("longdouble").reshape(-1, file["x/kernel"].shape[-1])
    finite = np.isfinite(values).all(axis=0)
    assert (np.sqrt((values**2).sum(axis=0))[finite] <= 0.5).all()


def _special(dtype: str) -> np.ndarray:
    facts = np.finfo(dtype)
    columns = [
        [facts.max / 4] * 3,
        [facts.smallest_subnormal] * 3,
        [facts.tiny] * 3,
        [0.0] * 3,
        [-0.0] * 3,
        [facts.eps] * 3,
    ]
    return np.array(columns, dtype).T


def _with(value: float) -> np.ndarray:
    values = KERNEL.copy()
    values[2, 1] = value
    return values


def _shared(file: h5py.File, inside: Path) -> None:
    file["a/kernel"] = KERNEL
    file["b/kernel"] = file["a/kernel"]


_BOTH = h5(lambda file, inside: [file.create_dataset(name, data=KERNEL) for name in ("one/kernel", "two/kernel")])


def _overlap(inside: Path) -> Path:
    """The second dataset's address is the first one's: clipping one would clip both, unreported."""
    path = _BOTH(inside)
    with h5py.File(path) as file:
        one, two = (file[name].id.get_offset() for name in ("one/kernel", "two/kernel"))
    content = path.read_bytes()
    address = two.to_bytes(8, "little") + (128).to_bytes(8, "little")
    assert content.count(address) == 1
    path.write_bytes(content.replace(address, one.to_bytes(8, "little") + (128).to_bytes(8, "little")))
    return path


def _inside_header(inside: Path) -> Path:
    """A dataset whose bytes are the file's own superblock: clipping it would destroy the file."""
    path = _BOTH(inside)
    with h5py.File(path) as file:
        two = file["two/kernel"].id.get_offset()
    content = path.read_bytes()
    address = two.to_bytes(8, "little") + (128).to_bytes(8, "little")
    path.write_bytes(content.replace(address, bytes(8) + (128).to_bytes(8, "little")))
    return path


_NUMBERS = (
    Case("h5-nan-apply", "one NaN in a kernel", _values(_with(np.nan)), "error", "NaN", commands=("apply",)),
    Case(
        "h5-inf-apply",
        "one infinity in a kernel",
        _values(_with(np.inf)),
        "error",
        "x/kernel",
        commands=("apply", "dry"),
    ),
    Case(
        "h5-nan-inspect", "one NaN in a kernel", _values(_with(np.nan)), "handled", commands=("inspect", "json", "csv")
    ),
    Case(
        "h5-nan-skip",
        "NaN with a payload in a unit that must be left alone",
        _values(_with(np.nan)),
        "handled",
        untouched=_norms_hold,
        commands=("apply",),
        options=("--nonfinite", "skip"),
    ),
    *(
        Case(
            f"h5-special-{dtype}",
            "largest, subnormal, smallest and signed zero values: norms overflow",
            _values(_special(dtype)),
            "handled",
            untouched=_norms_hold,
        )
        for dtype in ("float16", "float32", "float64")
    ),
    Case(
        "h5-norm-beyond-float64",
        "a norm that no float64 can hold",
        _values(np.full((3, 4), np.finfo("f8").max)),
        "error",
        "beyond the range of float64",
        opens=True,
    ),
    Case("h5-big-endian", "big-endian numbers", _values(_special(">f4")), "handled", untouched=_norms_hold),
    Case(
        "h5-shared-dataset",
        "one dataset under two names must be clipped once",
        h5(_shared),
        "handled",
        untouched=same_but_kernels,
    ),
    Case("h5-overlapping-datasets", "two datasets share their bytes", _overlap, "error", "share bytes of the file"),
    Case(
        "h5-dataset-in-header",
        "a dataset lies in the file's own header: clipping it destroys the file",
        _inside_header,
        "error",
        "model.h5",
    ),
)

# Attributes of Keras (THREATS A1, D4, E2)


def _legacy(layers: object, weights: object) -> Callable[[Path], Path]:
    def fill(file: h5py.File, inside: Path) -> None:
        file["model_weights/dense/dense/kernel:0"] = KERNEL
        file["model_weights"].attrs["layer_names"] = layers
        file["model_weights/dense"].attrs["weight_names"] = weights
        file["model_weights"].attrs["keras_version"] = "3.0"

    return h5(fill, sound=False)


def _numbered_parts(file: h5py.File, inside: Path) -> None:
    file["model_weights/dense/kernel"] = KERNEL
    group = file["model_weights"]
    for number in range(500):
        group.attrs[f"layer_names{number}"] = [b"dense"]


def _object_reference(file: h5py.File, inside: Path) -> None:
    file.attrs.create("layer_names", file["dense/kernel"].ref, dtype=h5py.ref_dtype)


_ATTRIBUTES = (
    Case(
        "h5-layer-names-lie",
        "layer_names lists a layer that is not there",
        _legacy([b"dense", b"gone"], [b"dense/kernel:0"]),
        "error",
        "has no group",
    ),
    Case(
        "h5-weight-names-lie",
        "weight_names lists a weight that is not there",
        _legacy([b"dense"], [b"dense/kernel:0", b"gone:0"]),
        "error",
        "has no dataset",
    ),
    Case(
        "h5-weight-names-climb",
        "weight_names climbs out with ..",
        _legacy([b"dense"], [b"../../x"]),
        "error",
        "has no dataset",
    ),
    Case(
        "h5-weight-names-absolute",
        "weight_names holds an absolute path",
        _legacy([b"dense"], [b"/dense/kernel:0"]),
        "error",
        "has no dataset",
    ),
    Case(
        "h5-weight-names-group",
        "weight_names lists a group",
        _legacy([b"dense"], [b"dense"]),
        "error",
        "has no dataset",
    ),
    Case(
        "h5-weight-names-escape",
        "a listed name holds escapes: it is shown in the error",
        _legacy([b"dense"], [b"\x1b[2J\n::error::x" + b"y" * 600]),
        "error",
        "it is damaged",
    ),
    Case(
        "h5-weight-names-twice",
        "one weight is listed 30,000 times",
        _legacy([b"dense"], np.array([b"dense/kernel:0"] * 4000)),
        "handled",
        untouched=same_but_kernels,
    ),
    Case("h5-weight-names-number", "weight_names is a number", _legacy([b"dense"], 7), "handled"),
    Case("h5-layer-names-empty", "layer_names holds an empty text", _legacy([b""], [b""]), "error", "has no group"),
    Case("h5-layer-names-parts", "layer_names in 500 parts", h5(_numbered_parts, libver="latest"), "handled"),
    Case("h5-layer-names-reference", "layer_names is an object reference", h5(_object_reference), "handled"),
)

CASES = (*_WALKS, *_NAMES, *_NUMBERS, *_ATTRIBUTES)
