"""Many mutants of TensorFlow's files; RENORM_FUZZ_MUTANTS says how many for each parser."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from fuzz.tf_hunt import hunt, mutant_of
from fuzz.tf_parsers import DRAFTS, PARSERS
from fuzz.tf_reader import Theirs
from renorm_cli.errors import RenormError
from renorm_cli.formats.numbers import item_bytes
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.model.blocks import Block

pytestmark = pytest.mark.fuzz

MUTANTS = int(os.environ.get("RENORM_FUZZ_MUTANTS", "2000"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("parser", PARSERS)
def test_a_mutant_is_read_or_is_an_error_in_bounded_time_and_memory(parser: str, tmp_path: Path) -> None:
    result = hunt(parser, MUTANTS, tmp_path)
    assert not result.finds, "\n".join(f"{seed} {number}: {fault}" for seed, number, fault in result.finds)
    assert result.mutants == MUTANTS
    assert result.accepted, "no mutant got through, so the mutators break too much to find anything"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("parser", PARSERS)
def test_mutants_differ_from_their_seed_and_are_the_same_in_every_run(parser: str) -> None:
    for seed in PARSERS[parser].seeds:
        mutants = [repr(mutant_of(parser, seed, number)) for number in range(300)]
        assert len(set(mutants)) > 100
        assert mutants == [repr(mutant_of(parser, seed, number)) for number in range(300)]


@pytest.mark.timeout(0)
def test_where_tensorflow_reads_a_mutant_too_the_values_agree(tmp_path: Path) -> None:
    theirs = Theirs()
    both = 0
    try:
        for number in range(max(400, MUTANTS // 10)):
            seed = sorted(DRAFTS)[number % len(DRAFTS)]
            both += agree(theirs, mutant_of("checkpoint", seed, number), tmp_path / "ckpt", f"{seed} {number}")
    finally:
        theirs.close()
    assert both > 40


def agree(theirs: Theirs, mutant: Any, prefix: Path, which: str) -> bool:
    """Whether both read the checkpoint; then they must find the same numbers."""
    index, data, _ = mutant
    prefix.with_name("ckpt.data-00000-of-00001").write_bytes(data)
    prefix.with_name("ckpt.index").write_bytes(index)
    try:
        with open_checkpoint(prefix) as source:
            ours = {}
            for variable in source.variables:
                if item_bytes(variable.dtype) is not None and variable.locked is None:
                    values = source.read(variable, Block((0,) * len(variable.shape), variable.shape))
                    ours[variable.key] = [list(variable.shape), hashlib.sha256(values.tobytes()).hexdigest()]
    except RenormError:
        return False
    found = theirs.read(str(prefix))
    for key, facts in (found or {}).items():
        assert key not in ours or ours[key] == facts, which
    return bool(found)
