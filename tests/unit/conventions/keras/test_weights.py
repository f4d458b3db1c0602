"""What a layer tells of its weights."""

from __future__ import annotations

import pytest

from renorm_cli.conventions.keras.weights import einsum_units


@pytest.mark.parametrize(
    ("equation", "rank", "axes"),
    [
        ("abc,cde->abde", 3, (1, 2)),
        ("abde,dec->abc", 3, (2,)),
        ("abc,dc->abd", 2, (0,)),
        ("abc,bcd->abd", 3, (0, 2)),
        ("...x,xy->...y", 2, (1,)),
        ("ab , bc -> ac", 2, (1,)),
        ("ab,bc->ac", 3, None),
        ("ab,bc,cd->ad", 2, None),
        ("nonsense", 2, None),
        ("", 0, None),
    ],
)
def test_the_units_of_an_einsum_are_the_kernel_letters_that_reach_the_output(
    equation: str, rank: int, axes: tuple[int, ...] | None
) -> None:
    assert einsum_units(equation, rank) == axes
