"""Names that several packages exchange are spelled in one file each."""

import ast
from pathlib import Path

import pytest

import kerasrec

PACKAGE = Path(kerasrec.__file__).parent


def texts(path: Path) -> list[str]:
    """The string constants of a file, f-strings included, but no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


@pytest.mark.parametrize(
    ("spelled", "file"),
    [
        ("__values", "tensor_names.py"),
        ("__offsets", "tensor_names.py"),
        ("__valid", "tensor_names.py"),
        ("__row__", "etl/sources/types.py"),
        ("key:", "etl/sources/types.py"),
    ],
)
def test_a_name_on_the_wire_or_on_disk_is_spelled_in_one_file(spelled, file):
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(text.startswith(spelled) or text.endswith(spelled) for text in texts(path))
    }
    assert files == {file}
