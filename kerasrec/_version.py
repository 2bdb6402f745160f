"""The version, which files record and which `pyproject.toml` reads."""

__version__ = "0.4.0"
