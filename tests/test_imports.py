"""What must start fast imports nothing heavy; rooms import only from their own floor or below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kerasrec"
FLOORS = {
    "_version": 1,
    "excerpts": 1,
    "files": 1,
    "gradients": 1,
    "hive": 1,
    "parquet": 1,
    "registration": 1,
    "schema": 1,
    "typing": 1,
    "datasets": 2,
    "etl": 2,
    "kernels": 2,
    "parallel": 2,
    "tables": 2,
    "callbacks": 3,
    "checkpoint": 3,
    "data": 3,
    "layers": 3,
    "optimizers": 3,
    "models": 4,
    "serving": 4,
    "__main__": 5,
    "cli": 5,
}


@pytest.mark.parametrize("module", ["kerasrec", "kerasrec.etl", "kerasrec.datasets", "kerasrec.cli"])
def test_import_brings_no_framework(module):
    script = (
        f"import sys, {module}; print([m for m in ('tensorflow', 'keras', 'jax', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def imported(path: Path) -> set[str]:
    """The rooms that a file names in its import statements."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "kerasrec" and len(parts) > 1 and parts[1] in FLOORS:
                rooms.add(parts[1])
    return rooms


def test_rooms_import_downwards():
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    assert len(files) > 20
    for path in files:
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert room in FLOORS, f"{path} is in no room of docs/architecture.md"
        above = {other for other in imported(path) if FLOORS[other] > FLOORS[room]}
        assert not above, f"{path} (floor {FLOORS[room]}) imports from {sorted(above)}"


def test_only_comm_imports_horovod():
    users = [path for path in PACKAGE.rglob("*.py") if "import horovod" in path.read_text(encoding="utf-8")]
    assert {path.relative_to(PACKAGE).as_posix() for path in users} <= {"parallel/comm/collectives.py"}
