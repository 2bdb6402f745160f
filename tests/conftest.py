"""Spread the tests over workers: file by file, the slowest first.

With `pytest -n 2 --dist loadgroup --no-loadscope-reorder` a worker takes one group after another in this order.
Tests that start ranks, measure memory or kill processes are one group, so that no two of them run side by side.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# These start ranks, measure memory or kill processes.
MACHINE = (
    "checkpoint/test_kills.py",
    "cli/test_doctor.py",
    "cli/test_kept.py",
    "cli/test_run.py",
    "data/test_interrupt.py",
    "etl/test_out_of_core.py",
    "models/test_models_are_freed.py",
    "parallel/test_batch_share.py",
    "parallel/test_combinations.py",
    "parallel/test_comm.py",
    "parallel/test_equivalence.py",
    "parallel/test_fit.py",
    "parallel/test_fit_faults.py",
    "parallel/test_large_tables.py",
    "parallel/test_multi_rank_example.py",
    "parallel/test_past_32_bits.py",
    "parallel/test_random_models.py",
    "parallel/test_ranks.py",
    "parallel/test_sharded_checkpoint.py",  # ends the ranks
)
SLOWEST_FIRST = (
    "models/test_models.py",
    "models/test_saving.py",
    "cli/test_demo.py",
    "etl/test_both_implementations.py",
    "serving",
    "etl",
    "models",
    "cli",
    "checkpoint",
    "data",
)


def group_of(path: Path) -> str:
    """Return the group of a file's tests: its own, save for those of `MACHINE`."""
    return "machine" if path.relative_to(TESTS).as_posix() in MACHINE else path.stem


def place_of(item: pytest.Item) -> tuple[int, ...]:
    """Return where a test comes in the order: among those on ranks, beside others on as many, which they share."""
    name = item.path.relative_to(TESTS).as_posix()
    if name in MACHINE:
        callspec = getattr(item, "callspec", None)
        return -1, callspec.params.get("ranks", 0) if callspec else 0, MACHINE.index(name)
    starts = (place for place, start in enumerate(SLOWEST_FIRST) if name.startswith(start))
    return (next(starts, len(SLOWEST_FIRST)),)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its group, and sort them."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
    items.sort(key=place_of)
