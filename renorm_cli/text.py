"""Foreign strings and numbers as text that is safe on a terminal, in an error line and in a CSV cell."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Sequence

NAME_LIMIT = 120
LINE_LIMIT = 500
PATH_LIMIT = 4096

_MOST_DIGITS = 31  # so that a number is sorted before any letter, as its length is a control character

_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_INVISIBLE = frozenset((0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)).union(*_SELECTORS)
"""Printable to Python but invisible: Unicode's Default_Ignorable_Code_Point, and the blank Braille pattern."""

_RUNNER_COMMAND = re.compile(r"##([A-Za-z]*)\[")
"""`##[error]` and `##vso[...]` are commands to CI runners anywhere in a line."""

_RUNNER_LINE = re.compile(r"^( *):(?=:)")
"""`::error::` is a command at the start of a line, also after blanks."""

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = ".:-=+*#"


def show(text: str, limit: int | None = NAME_LIMIT, *, ascii: bool = False) -> str:
    """Turn a foreign string into one line of printable text. Every foreign string passes through here before output.

    Unprintable characters (categories Cc, Cf, Cs, Co, Cn, Zl, Zp, blanks other than the space, invisible characters,
    lone surrogates that stand for bytes outside UTF-8) become `\\u{..}`; with `ascii`, so do all that are not ASCII.
    Commands to CI runners are broken up. Text longer than `limit` characters is shortened in the middle. Plain text is
    returned unchanged.
    """
    if limit is not None and len(text) > 2 * limit:
        text = text[:limit] + text[-limit:]  # so that megabytes need no escaping; the cut below removes the seam
    if not (text.isprintable() and text.isascii()):
        text = "".join(_visible(char, ascii) for char in text)
    text = _RUNNER_COMMAND.sub(r"##\1\\u{5b}", text)
    text = _RUNNER_LINE.sub(r"\1\\u{3a}", text)
    return text if limit is None else shorten(text, limit, ascii=ascii)


def one_line(message: str) -> str:
    """Make a message one printable line of at most 500 characters, escaped as `show` does."""
    return show(message, LINE_LIMIT)


def cells(text: str) -> int:
    """Count the terminal cells of printable text: 2 for wide characters, 0 for combining marks."""
    return len(text) if text.isascii() else sum(0 if _is_mark(char) else _width(char) for char in text)


def shorten(text: str, width: int, *, ascii: bool = False) -> str:
    """Cut printable text in the middle, where names differ least, so that it takes at most `width` cells.

    Combining marks count as one cell each here, so that a name of nothing but marks is cut, too.
    """
    if len(text) <= width and (text.isascii() or sum(map(_width, text)) <= width):
        return text
    dots = "..." if ascii else "…"
    if width <= len(dots):
        return dots[:width]
    room = width - len(dots)
    return _prefix(text, room // 2) + dots + _prefix(text[::-1], room - room // 2)[::-1]


def distinct(texts: Sequence[str], widths: Sequence[int], *, ascii: bool = False) -> list[list[str]]:
    """Fit printable texts into so many cells each, one line a text, so that different texts stay different.

    A text is cut in the middle. Of texts that would look the same, what they begin with alike is cut, up to a slash.
    Those that still look the same are folded onto several lines.
    """
    cut = [shorten(text, width, ascii=ascii) for text, width in zip(texts, widths, strict=True)]
    for group in _alike(texts, cut):
        shared = os.path.commonprefix([texts[number] for number in group])  # noqa: RUF071  (characters are meant)
        start = shared.rpartition("/")[0]
        for number in group if start else ():
            rest = f"{'...' if ascii else '…'}{texts[number][len(start) :]}"
            cut[number] = shorten(rest, widths[number], ascii=ascii)
    lines = [[text] for text in cut]
    for group in _alike(texts, cut):
        for number in group:
            lines[number] = _folded(texts[number], widths[number])
    return lines


def _alike(texts: Sequence[str], cut: Sequence[str]) -> list[list[int]]:
    """The numbers of different texts that look the same when they are cut, in groups."""
    groups: dict[str, list[int]] = {}
    for number, short in enumerate(cut):
        groups.setdefault(short, []).append(number)
    return [numbers for numbers in groups.values() if len({texts[number] for number in numbers}) > 1]


def _folded(text: str, width: int) -> list[str]:
    """The text in lines of at most so many cells, the first without indent; broken behind a slash where it can be."""
    lines: list[str] = []
    while text:
        indent = "  " if lines else ""
        line = _prefix(text, max(1, width - len(indent))) or text[:1]
        if len(line) < len(text) and "/" in line[len(line) // 2 :]:
            line = line[: line.rindex("/") + 1]
        lines.append(indent + line)
        text = text[len(line) :]
    return lines or [""]


def by_number(path: str) -> str:
    """A sort key with numbers in their order, "vars/2" before "vars/10": how long each is stands before it."""
    return re.sub(r"0*([0-9]+)", lambda found: chr(min(len(found[1]), _MOST_DIGITS)) + found[1], path)


def share_of(text: str) -> float:
    """Read a share: 0.05 of `5%` or `0.05`; NaN of what is no number."""
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        return math.nan


def shape_text(shape: Sequence[int], *, ascii: bool = True) -> str:
    """Write a shape as `784x200` (without `ascii`, with a multiplication sign), and that of a scalar as `scalar`."""
    return ("x" if ascii else "\N{MULTIPLICATION SIGN}").join(map(str, shape)) or "scalar"


def number_text(number: float | None) -> str:
    """Write a norm with 4 significant digits: `0.01234`, `12.00`, `1.234e7`; `0` for zero, `-` for None."""
    if number is None:
        return "-"
    if number == 0 or not math.isfinite(number):
        return f"{abs(number):g}"
    mantissa, _, exponent = f"{number:.3e}".partition("e")  # rounded first: 9.9999 is 10.00
    power = int(exponent)
    return f"{number:.{3 - power}f}" if -3 <= power <= 3 else f"{mantissa}e{power}"


def exact_text(number: float | None) -> str:
    """Write a limit or p as the user would type it, with every digit: `0.9`, `2`, `inf`; `-` for None."""
    return "-" if number is None else repr(float(number)).removesuffix(".0")


def count_text(count: int) -> str:
    """Write a count with thousands separators: `12,345`."""
    return f"{count:,}"


def bytes_text(count: int) -> str:
    """Write a size in binary units: `512 B`, `1.2 MiB`."""
    size, units = float(count), ("KiB", "MiB", "GiB", "TiB", "PiB")
    if count < 1024:
        return f"{count} B"
    for unit in units:
        size /= 1024
        if size < 1023.95 or unit == units[-1]:  # 1023.95 would be rounded to 1024.0
            break
    return f"{size:.1f} {unit}"


def sparkline(counts: Sequence[int], ascii: bool) -> str:
    """Draw counts as bars of one character each; a blank means zero.

    The height grows with the square root of the count, so that the thin tail of a peaked distribution, which holds the
    units over the limit, stays visible.
    """
    bars = _ASCII_BARS if ascii else _BARS
    top = max(counts, default=0)
    return "".join(bars[math.ceil(len(bars) * math.sqrt(count / top)) - 1] if count > 0 else " " for count in counts)


def _visible(char: str, ascii: bool) -> str:
    shown = char.isprintable() and ord(char) not in _INVISIBLE and (char.isascii() or not ascii)
    return char if shown else f"\\u{{{ord(char):x}}}"


def _is_mark(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Me")


def _width(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _prefix(text: str, width: int) -> str:
    if text.isascii():
        return text[:width]
    taken = 0
    for end, char in enumerate(text):
        taken += _width(char)
        if taken > width:
            return text[:end]
    return text


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: `1 unit`, `12 units`."""
    return f"{count_text(count)} {noun}" if count == 1 else f"{count_text(count)} {noun}s"


def an(noun: str) -> str:
    """Write a noun with its article: `a norm`, `an operator norm`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def matrices_text(count: int) -> str:
    """Write a count of matrices: `1 matrix`, `12 matrices`."""
    return "1 matrix" if count == 1 else f"{count_text(count)} matrices"


def percent_text(share: float) -> str:
    """Write a share in whole percent: `0 %` and `100 %` only if they are exact."""
    if share in (0, 1):
        return "100 %" if share else "0 %"
    return "< 1 %" if share < 0.01 else "> 99 %" if share > 0.99 else f"{share * 100:.0f} %"
