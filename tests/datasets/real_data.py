"""Where the real data lies that is not part of the project."""

import os
from pathlib import Path

import pytest


def real_data(name):
    """Its path; skips the test where it is absent."""
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    path = Path(os.environ.get("KERASREC_DATA", default)) / name
    if not path.exists():
        pytest.skip(f"{name} is not here; set KERASREC_DATA to the folder that holds it")
    return path
