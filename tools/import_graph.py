"""Which file of the package imports which: read from the source, nothing is imported.

Imports inside functions and under `TYPE_CHECKING` count like any other, since a reader follows them all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kerasrec"

# Highest first. A file imports from its own floor or from one below; inside a package with sub-packages the same
# holds for those that are listed under its name.
FLOORS: dict[str, list[set[str]]] = {
    "": [
        {"cli", "__main__"},
        {"pipeline"},
        {"models", "serving"},
        {"callbacks", "checkpoint", "data", "layers", "losses", "metrics", "optimizers", "retrieval"},
        {"datasets", "etl", "kernels", "parallel", "tables"},
        {
            "_keras",
            "_version",
            "excerpts",
            "files",
            "gradients",
            "hive",
            "parquet",
            "public_names",
            "registration",
            "schema",
            "tags",
            "tensor_names",
            "typing",
        },
    ],
    "etl": [
        {"workflow"},
        {"storage"},
        {"compute", "dataset", "sequences"},
        {"run"},
        {"ops"},
        {"operator"},
        {"lookup"},
        {"sources"},
    ],
}


def modules() -> dict[str, Path]:
    """Return every file of the package by its dotted name, without `kerasrec.`; the package itself is ''."""
    files = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


@cache
def imports() -> dict[str, set[str]]:
    """Return the files that each file imports, both by dotted name."""
    known = modules()
    return {name: _imported(path, known) - {name} for name, path in known.items()}


def _imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    targets = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        targets |= {_file_of(name, known) for name in names if name.split(".")[0] == PACKAGE.name}
    return targets


def _file_of(name: str, known: Mapping[str, Path]) -> str:
    """Return the file that an imported name is in: a module, or the package that defines the name."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts)


def boxes(graph: Mapping[str, Iterable[str]], inside: str = "") -> dict[str, set[str]]:
    """Return what the sub-packages and files directly in a package import of each other.

    `inside` is the package's dotted name, '' for kerasrec itself. Its own `__init__.py` is left out: it passes on
    what users import and nothing below it imports it.
    """
    out: dict[str, set[str]] = {}
    for module, targets in graph.items():
        if box := _box(module, inside):
            out.setdefault(box, set()).update({b for b in (_box(t, inside) for t in targets) if b} - {box})
    return out


def _box(module: str, inside: str) -> str:
    """Return the direct child of `inside` that a file is in; '' where it is in none."""
    below = module.removeprefix(f"{inside}.") if inside else module
    return "" if inside and below == module else below.split(".")[0]


def floor(module: str, inside: str = "") -> int | None:
    """Return the floor of a file, 1 being the lowest: among all, or among the sub-packages of `inside`."""
    name = module.removeprefix(f"{inside}.").split(".")[0] if inside else module.split(".")[0]
    levels = FLOORS[inside]
    return next((len(levels) - i for i, names in enumerate(levels) if name in names), None)
