"""Ranks for the tests that can share processes."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from ranks import KeptRanks, Ranks

KEPT = pytest.StashKey[KeptRanks]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[KEPT] = KeptRanks()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let the ranks go before a test that uses none: they take time even while they wait."""
    if nextitem is None or "horovod_ranks" not in getattr(nextitem, "fixturenames", ()):
        item.config.stash[KEPT].keep_only(None)


@pytest.fixture
def horovod_ranks(request: pytest.FixtureRequest) -> Ranks:
    """As many ranks as the parameter says, the same from test to test while they are alive."""
    if find_spec("horovod") is None:
        pytest.skip("Horovod is not installed")
    return request.config.stash[KEPT].of(request.param)
