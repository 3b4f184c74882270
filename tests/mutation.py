"""Mutation testing, by hand: python -m tests.mutation FILE TESTS... [--every N] [--seconds S]

Changes one operator or constant of FILE at a time, in a copy of the checkout, and runs TESTS there. What survives is a
line that no test looks at, or a change that means the same. Exit status 1 if something survived. One in ten of the
codec's mutants, against the tests of its own:

    python -m tests.mutation peer_relay_socket/codec/packet.py tests/codec/test_packet.py --every 10
"""

from __future__ import annotations

import argparse
import ast
import copy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield what was changed, and the changed source."""
    tree = ast.parse(source)
    for position, node in enumerate(ast.walk(tree)):
        for field, new in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(each for at, each in enumerate(ast.walk(changed)) if at == position)
            before = ast.unparse(target)
            value = getattr(target, field)
            if isinstance(value, list):
                value[0] = new
            else:
                setattr(target, field, new)
            yield f"line {node.lineno}: {before}  ->  {ast.unparse(target)}", ast.unparse(changed)  # type: ignore[attr-defined]


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield a field of `node` and another value for it."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        yield "ops", OPERATORS[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in OPERATORS:
        yield "op", OPERATORS[type(node.op)]()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "value", not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield "value", node.value + 1
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "test", ast.UnaryOp(ast.Not(), node.test)


def passes(checkout: Path, tests: list[str], seconds: float) -> bool:
    """Return whether the tests pass there. Ones that hang do not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("file", help="the module to change, from the top of the checkout")
    parser.add_argument("tests", nargs="+", help="what pytest runs: files, or one test's id")
    parser.add_argument("--every", type=int, default=1, help="try one mutant in so many")
    parser.add_argument("--seconds", type=float, default=120.0, help="limit of one run of the tests")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        checkout = Path(folder) / "checkout"
        shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info"))
        target = checkout / given.file
        source = target.read_text()
        target.write_text(ast.unparse(ast.parse(source)))
        if not passes(checkout, given.tests, given.seconds):
            parser.error("the tests fail without a mutant")
        chosen = list(mutants(source))[:: given.every]
        survived = []
        for change, mutant in chosen:
            target.write_text(mutant)
            if passes(checkout, given.tests, given.seconds):
                survived.append(change)
                print(f"survived: {change}", flush=True)
    print(f"{len(chosen)} mutants, {len(chosen) - len(survived)} found, {len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
