"""Spread the tests over workers: file by file, the slowest first.

With `pytest -n 2 --dist loadgroup --no-loadscope-reorder` a worker takes one group after another in this order.
Tests on ranks and tests marked `alone` are one group, so that no two of them run side by side.
"""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# No test measures time: how long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("kerasrec", deadline=None)
hypothesis.settings.load_profile("kerasrec")

TESTS = Path(__file__).parent
SLOWEST_FIRST = (
    "models/test_models.py",
    "models/test_saving.py",
    "cli/test_demo.py",
    "etl/test_both_implementations.py",
    "serving",
    "pipeline",
    "etl",
    "models",
    "cli",
    "checkpoint",
    "data",
)


def runs_alone(item: pytest.Item) -> bool:
    """Return whether a test starts ranks, measures memory or kills processes."""
    return item.get_closest_marker("alone") is not None or "horovod_ranks" in getattr(item, "fixturenames", ())


def place_of(item: pytest.Item) -> tuple[int, ...]:
    """Return where a test comes in the order: of those on ranks, beside others on as many ranks."""
    if runs_alone(item):
        callspec = getattr(item, "callspec", None)
        return -1, callspec.params.get("horovod_ranks", 0) if callspec else 0
    name = item.path.relative_to(TESTS).as_posix()
    starts = (place for place, start in enumerate(SLOWEST_FIRST) if name.startswith(start))
    return (next(starts, len(SLOWEST_FIRST)),)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its group, which is its file or that of the tests that run alone, and sort the tests."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("alone" if runs_alone(item) else item.path.stem))
    items.sort(key=place_of)
