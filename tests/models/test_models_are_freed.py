"""A model that nothing refers to any more is freed, and so are its tables: checked in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone


def check(folder, rounds):
    script = Path(__file__).with_name("freed_cases.py")
    done = subprocess.run([sys.executable, str(script), str(folder), str(rounds)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line.partition(":")[2]) for line in done.stdout.splitlines() if line.startswith("left:")]
    assert len(lines) == 9
    for name, left in lines:
        tables, loaders, memory = zip(*left, strict=True)
        assert not any(tables), f"{name}: tables are held"
        assert not any(loaders), f"{name}: loaders are held"
        # One table kept a round would be 5 MiB; the first round loads code, and some is of the allocator.
        assert memory[-1] - memory[1] < 1.0 * (rounds - 2), f"{name}: MiB after each round {memory}"


@pytest.mark.slow
def test_models_are_freed(tmp_path):
    check(tmp_path, 3)


@pytest.mark.nightly
def test_two_hundred_models_are_freed(tmp_path):
    check(tmp_path, 23)
