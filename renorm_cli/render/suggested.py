"""Suggested bounds and shares as text."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context

_DIGITS = Context(prec=5, rounding=ROUND_CEILING)


def bound_text(limit: float | None) -> str:
    """Write a bound with 5 digits, rounded up so that no more units are over it; `-` for None."""
    if limit is None:
        return "-"
    rounded = _DIGITS.create_decimal_from_float(limit)
    text = f"{rounded:f}" if -4 < rounded.adjusted() < 7 else f"{rounded:e}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def share_text(share: float) -> str:
    """Write the share that a bound aims at as a percentage: `5%`, `0.1%`."""
    return f"{share * 100:.6g}%"
