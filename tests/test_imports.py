"""What must start fast imports nothing heavy; files import downwards only, and never in a circle."""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from import_graph import FLOORS, PACKAGE, boxes, floor, imports, modules  # noqa: E402

# Files that import each other, each pair with its reason. There is none.
CIRCLES_ALLOWED: dict[tuple[str, str], str] = {}


@pytest.mark.parametrize("module", ["kerasrec", "kerasrec.etl", "kerasrec.datasets", "kerasrec.cli"])
def test_import_brings_no_framework(module):
    script = (
        f"import sys, {module}; print([m for m in ('tensorflow', 'keras', 'jax', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("inside", sorted(FLOORS))
def test_files_import_from_their_own_floor_or_below(inside):
    graph = {
        name: targets
        for name, targets in imports().items()
        if name and (not inside or name.startswith(f"{inside}."))
    }
    assert len(graph) > 5
    for name, targets in graph.items():
        own = floor(name, inside)
        assert own is not None, f"{name} is on no floor of tools/import_graph.py"
        for target in targets:
            if not target or (inside and not target.startswith(f"{inside}.")):
                continue
            assert floor(target, inside) <= own, f"{name} (floor {own}) imports {target}, which is above it"


def test_no_file_imports_one_that_imports_it():
    graph = {name: set(targets) for name, targets in imports().items()}
    for (name, target), _ in CIRCLES_ALLOWED.items():
        graph[name].remove(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


PACKAGES = [
    "",
    *sorted(
        {path.parent.relative_to(PACKAGE).as_posix().replace("/", ".") for path in modules().values()} - {"."}
    ),
]


@pytest.mark.parametrize("inside", PACKAGES)
def test_no_package_imports_one_that_imports_it(inside):
    try:
        TopologicalSorter(boxes(imports(), inside)).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_only_the_collectives_import_horovod():
    users = [name for name, path in modules().items() if "import horovod" in path.read_text(encoding="utf-8")]
    assert set(users) <= {"parallel.comm.collectives"}
    assert PACKAGE.name == "kerasrec"
