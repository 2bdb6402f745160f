"""Rows from columns and columns from rows, compiled and in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.kernels import pools


@pytest.fixture(params=["compiled", "NumPy"])
def way(request, monkeypatch):
    if request.param == "NumPy":
        monkeypatch.setattr(pools, "compiled", lambda: None)
    else:
        assert pools.compiled() is not None


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 700) | st.sampled_from([4096, 5000]),
    parts=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(["uint8", "uint16", "uint32", "uint64"]),
    skipped=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def _check(rows, parts, dtype, skipped, seed):
    rng = np.random.default_rng(seed)
    count = sum(parts)
    # Columns that start anywhere in memory, and a block in the middle of others.
    columns = [rng.integers(0, 250, rows + skipped).astype(dtype)[skipped:] for _ in range(count)]
    whole = np.zeros((rows + 2 * skipped, count), dtype)
    pool = whole[skipped : skipped + rows]
    pools.interleave(columns, pool)
    np.testing.assert_array_equal(pool, np.stack(columns, axis=1))
    assert not whole[:skipped].any()
    assert not whole[skipped + rows :].any()

    order = rng.permutation(rows)[: rows - rows // 3]
    wide = [np.zeros((part, len(order) + 2 * skipped), dtype) for part in parts]
    outs = [out[:, skipped : skipped + len(order)] for out in wide]
    pools.gather(pool, order, outs)
    np.testing.assert_array_equal(np.concatenate(outs), pool[order].T)
    for out in wide:
        assert not out[:, :skipped].any()
        assert not out[:, skipped + len(order) :].any()


def test_pools_are_permuted(way):
    _check()


@settings(max_examples=60, deadline=None)
@given(
    lists=st.lists(st.lists(st.integers(0, 200), max_size=5), max_size=60),
    dtype=st.sampled_from(["bool", "float16", "int32", "float64"]),
    data=st.data(),
)
def _check_lists(lists, dtype, data):
    values = np.array([each for some in lists for each in some]).astype(dtype)
    offsets = np.concatenate([[0], np.cumsum([len(some) for some in lists], dtype="int64")]).astype("int64")
    wanted = np.array(data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=90)) if lists else [], "int64")
    lengths = offsets[wanted + 1] - offsets[wanted]
    out = pools.gather_lists(values, offsets[wanted], np.concatenate([[0], np.cumsum(lengths)]).astype("int64"))
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, np.array([each for row in wanted for each in lists[row]]).astype(dtype))


def test_lists_are_gathered(way):
    _check_lists()


def test_without_a_compiler_numpy_does_it(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "/no/such/compiler")
    pools.compiled.cache_clear()
    try:
        assert pools.compiled() is None
        assert "/no/such/compiler" in caplog.text
        out = np.zeros((2, 2), "uint32")
        pools.interleave([np.array([1, 2], "uint32"), np.array([3, 4], "uint32")], out)
        assert out.tolist() == [[1, 3], [2, 4]]
    finally:
        pools.compiled.cache_clear()
