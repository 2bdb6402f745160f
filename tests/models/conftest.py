"""A fixture that is every model in turn."""

import pytest
from model_cases import MODELS


@pytest.fixture(params=list(MODELS))
def make(request):
    """How to make one of the models from a schema."""
    return MODELS[request.param]
