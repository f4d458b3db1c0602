"""One checkpoint, measured for bounds that fit it, and the rules that say them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.api.measuring import refuse_read, say_dtypes, session_for, told
from renorm_cli.api.suggestion import Suggestion
from renorm_cli.errors import Way
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.plan.rules_toml import rules_text
from renorm_cli.run.steps import Meter, Work
from renorm_cli.storage.staging import existing, save
from renorm_cli.suggestion import Aim, Collector, refuse_taken, remarks, rules_for

if TYPE_CHECKING:
    from renorm_cli.api.keywords import PathLike
    from renorm_cli.plan.dtypes import Dtypes
    from renorm_cli.plan.planner import Request
    from renorm_cli.run.session import Computing


def suggested(
    checkpoint: PathLike,
    aim: Aim,
    request: Request,
    computing: Computing,
    *,
    like: PathLike | None,
    dtypes: Dtypes,
    rules: Path | None,
    force: bool,
    meter: Meter,
) -> Suggestion:
    """Measure a checkpoint and choose bounds; written to `rules`, which with `force` may replace a file."""
    started = time.monotonic()
    with open_checkpoint(Path(checkpoint)) as source:
        say_dtypes(dtypes, source)
        if rules is not None:
            existing(rules)
            refuse_read(rules, like)
            refuse_taken(rules, source, force=force)
        session = session_for(source, request, like, computing)
        session.start(meter)
        collector = Collector(session.plan.steps, aim)
        rows = session.run(Work(source, session.engine, advance=meter.advance, collect=collector.take))
        damaged = session.damage(refuse=False)
        source.check_unchanged()
        found = collector.suggestion(told(session.report("inspect", rows, started, damage=damaged), source))
        if rules is None:
            return Suggestion.of(found)
        made = rules_for(found, aim, source.variables)
        text = rules_text(made, remarks(found, made, aim))
        readers, name_another = found.measured.readers, Way("output", "give the rules another name")
        save({rules: [text.encode("ascii")]}, name_another, readers=readers)
    return Suggestion.of(replace(found, rules=str(rules)))
