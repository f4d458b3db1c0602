"""A suggestion as Python users have it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from renorm_cli.model import suggestion
from renorm_cli.text import number_text, show


@dataclass(frozen=True, slots=True, repr=False)
class Suggestion(suggestion.Suggestion):
    """The bounds that `suggest` found: for the units of all variables `together`, and `bounds` for each.

    `bounds` has the order of `measured.rows`; `measured` is the report they come from.
    """

    __module__ = "renorm_cli"

    @classmethod
    def of(cls, found: suggestion.Suggestion) -> Suggestion:
        """The public form of what was found."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)})

    def to_dict(self) -> dict[str, Any]:
        """The suggestion as plain dicts, lists, strings, numbers and None: the object of the JSON output."""
        from renorm_cli.render.data.suggest_record import suggestion_dict

        return suggestion_dict(self)

    def __repr__(self) -> str:
        bounds = ", ".join(
            f"{number_text(bound.limit)} clips {bound.clipped:.1%}"
            for bound in self.together
            if bound.limit is not None
        )
        return f"<Suggestion for {show(self.measured.path)!r}: {bounds or 'no bound'}>"
