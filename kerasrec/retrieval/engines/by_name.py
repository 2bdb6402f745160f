"""Engines by their names."""

from __future__ import annotations

from kerasrec.retrieval.engines.engine import Engine, Exact
from kerasrec.retrieval.engines.faiss_index import Faiss
from kerasrec.retrieval.engines.tfrs_layer import TFRS
from kerasrec.retrieval.engines.usearch_index import USearch

ENGINES: dict[str, type[Engine]] = {"exact": Exact, "faiss": Faiss, "usearch": USearch, "tfrs": TFRS}


def engine_of(index: str | Engine) -> Engine:
    """Return an engine by its name, with its defaults, or itself.

    Raises:
        ValueError: there is none of that name.
        ImportError: its library is not installed.
    """
    if not isinstance(index, str):
        return index
    if index not in ENGINES:
        raise ValueError(f"no index {index!r}; available: {', '.join(map(repr, ENGINES))}")
    return ENGINES[index]()
