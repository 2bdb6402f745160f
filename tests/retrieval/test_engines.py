"""Engines of other libraries: what they recommend, compared with the exact engine."""

import importlib.util

import numpy as np
import pytest

from kerasrec.retrieval.engines import by_name
from kerasrec.retrieval.engines.engine import Approximate, Exact
from kerasrec.retrieval.engines.faiss_index import Faiss
from kerasrec.retrieval.lists import Lists


class Everything(Approximate):
    """Finds all candidates, in no order."""

    def make(self, candidates, similarity):
        pass

    def find(self, queries, k):
        rows = np.arange(len(self.candidates))[::-1]
        return np.tile(rows if k == len(rows) else np.append(rows[: k - 1], -1), (len(queries), 1))


def engines():
    have = {"everything": Everything}
    for name, module in {"faiss": "faiss", "usearch": "usearch"}.items():
        if importlib.util.find_spec(module):
            have[name] = by_name.ENGINES[name]
    if importlib.util.find_spec("faiss"):
        have["faiss flat"] = lambda: Faiss("Flat")
        have["faiss lists"] = lambda: Faiss("IVF4,Flat", "nprobe=4")
    return have


ENGINES = engines()


@pytest.mark.parametrize("similarity", ["dot", "cosine", "l2"])
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_recommends_what_the_exact_one_does(name, similarity):
    rng = np.random.default_rng(0)
    candidates, queries = rng.normal(size=(300, 8)), rng.normal(size=(40, 8))
    exclude = Lists.of([rng.choice(300, i % 7, replace=False) for i in range(40)])
    engine, exact = ENGINES[name](), Exact()
    for one in (engine, exact):
        one.build(candidates.astype(np.float32), similarity)
    for k in (5, 400):
        k = 300 if name == "everything" and k == 5 else k
        found, best = engine.search(queries, k, exclude), exact.search(queries, k, exclude)
        # By sets: threads build a graph in any order, and one candidate that it misses moves all after it.
        sets = [[set(row[row >= 0]) for row in each.rows] for each in (found, best)]
        assert sum(len(one & other) for one, other in zip(*sets, strict=True)) > 0.97 * sum(map(len, sets[1]))
        same = found.rows == best.rows
        np.testing.assert_allclose(found.scores[same], best.scores[same], rtol=1e-4, atol=1e-5)
        listed = [set(row) for row in found.rows]
        assert not any(set(exclude.rows(i, i + 1).values) & row for i, row in enumerate(listed))


@pytest.mark.parametrize("name", ENGINES)
def test_no_candidates_and_no_queries(name):
    engine = ENGINES[name]()
    engine.build(np.empty((0, 4), np.float32), "dot")
    assert engine.search(np.ones((2, 4)), 3, None).rows.tolist() == [[-1] * 3] * 2
    engine.build(np.ones((50, 4), np.float32), "dot")
    assert engine.search(np.ones((0, 4)), 3, None).rows.shape == (0, 3)


def test_an_engine_that_is_not_there_says_what_to_install(monkeypatch):
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    for name, message in {
        "faiss": r'pip install "kerasrec\[faiss\]"',
        "usearch": r'pip install "kerasrec\[usearch\]"',
        "tfrs": "set TF_USE_LEGACY_KERAS=1",
    }.items():
        with pytest.raises(ImportError, match=message):
            by_name.engine_of(name)
    with pytest.raises(ValueError, match="no index 'annoy'; available: 'exact', 'faiss', 'usearch', 'tfrs'"):
        by_name.engine_of("annoy")
