"""Names that all formats give: each once, and one for copies that are proven."""

from __future__ import annotations

from renorm_cli.formats.naming import Naming, join_copies, unique_names
from renorm_cli.model.variable import Variable


def test_layers_are_one_only_if_all_their_weights_are_equal() -> None:
    variables = tuple(
        Variable(f"{layer}/{name}", f"{layer}/{name}", (2,), "float32") for layer in "ab" for name in "kv"
    )
    naming = Naming(variables, (("a/k", "b/k"), ("a/v", "b/v")))
    for equal, names in (({"k", "v"}, ["a/k", "a/v"] * 2), ({"v"}, ["a/k", "a/v", "b/k", "b/v"]), (set(), None)):
        found = join_copies(naming, lambda one, other, equal=equal: one.key[-1] in equal)
        assert [variable.name for variable in found] == (names or ["a/k", "a/v", "b/k", "b/v"])
        assert all(bool(variable.copies) == (equal == {"k", "v"}) for variable in found)


def test_no_variable_has_the_key_of_another_as_its_name() -> None:
    found = unique_names(
        [Variable("x", "p", (), "float32"), Variable("y", "x", (), "float32"), Variable("z", "z", (), "float32")],
        lambda variable: variable.name,
    )
    assert [variable.name for variable in found] == ["p", "y", "z"]


def test_names_that_are_shared_are_qualified_and_then_keys() -> None:
    same = [Variable("k", f"{layer}/k", (), "float32") for layer in "abc"]
    found = unique_names(same, lambda variable: "a" if variable.key == "a/k" else "other")
    assert [variable.name for variable in found] == ["a", "b/k", "c/k"]
