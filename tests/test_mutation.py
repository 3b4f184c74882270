"""The mutants of `python -m tests.mutation`: each differs from the source in one place, and is a program."""

from __future__ import annotations

import ast

from tests.mutation import mutants

SOURCE = "def f(a, b):\n    if a < 3 and not b:\n        return a + 1\n    return True\n"


def test_mutants_change_one_operator_constant_or_condition_each() -> None:
    made = dict(mutants(SOURCE))
    assert len(set(made.values())) == len(made) == 7
    assert ast.unparse(ast.parse(SOURCE)) not in made.values()
    assert "    return a - 1" in made["line 3: a + 1  ->  a - 1"]
    for source in made.values():
        compile(source, "mutant", "exec")
