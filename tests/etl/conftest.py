"""Checks at the end of the session what the tests' SavedModels make in another process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tensorflow_runs import SAVED_MODELS


@pytest.fixture(scope="session", autouse=True)
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    if SAVED_MODELS.waiting:
        SAVED_MODELS.check(tmp_path_factory.mktemp("saved_models"))
