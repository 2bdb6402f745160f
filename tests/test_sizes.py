"""Files and functions stay short enough to be read in one sitting (ruff's PLR0912 counts branches)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kerasrec"
FILES = sorted(PACKAGE.rglob("*.py"))


def lines(*paths):
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def test_no_file_is_longer_than_350_lines():
    assert len(FILES) > 200
    assert {path.name: lines(path) for path in FILES if lines(path) > 350} == {}


def test_no_function_is_longer_than_50_lines():
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (length := node.end_lineno - node.lineno + 1) > 50:
                long[f"{path.relative_to(PACKAGE)}: {node.name}"] = length
    assert long == {}


@pytest.mark.parametrize(
    ("folder", "apart", "most"),
    [
        # Replicas are refreshed after the step, and full tables are gathered when a file is written.
        ("parallel/exchange", {"replicas.py", "gather_table.py"}, 300),
        ("parallel/planner", set(), 500),
    ],
)
def test_the_exchange_and_the_planner_each_read_as_one(folder, apart, most):
    files = [path for path in (PACKAGE / folder).glob("*.py") if path.name not in apart]
    assert len(files) > 3
    assert lines(*files) < most
