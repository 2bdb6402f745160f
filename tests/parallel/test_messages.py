"""What ranks send each other arrives unchanged, and is data: nothing that arrives can run code."""

import json
import pickle

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.parallel.comm.messages import decode, encode

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(plain, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=10)


@settings(max_examples=60, deadline=None)
@given(values)
def test_values_survive(value):
    assert decode(encode(value)) == value


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint32", "int64", "float32", "float64", ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3)])
def test_arrays_survive_bit_for_bit(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    found = decode(encode({"seeds": [array.T]}))["seeds"][0]
    assert found.dtype == array.dtype
    assert found.shape == array.T.shape
    assert found.tobytes() == np.ascontiguousarray(array.T).tobytes()
    found[...] = 0  # the receiver's own


def test_floats_that_are_no_numbers_and_numpy_scalars():
    (nan, inf, count) = decode(encode((float("nan"), -np.inf, np.int64(2**62))))
    assert (nan != nan, inf, count) == (True, -np.inf, 2**62)


class Code:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize("value", [Code(), {1, 2}, np.array([Code()]), len])
def test_what_is_not_data_is_refused(value):
    with pytest.raises(TypeError, match="numbers, strings, bytes and arrays"):
        encode([value])


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Code()),
        b"",
        json.dumps({"__bytes__": "a"}).encode(),
        json.dumps({"__array__": "object", "shape": [1], "data": {"__bytes__": "AAAAAAAAAAA="}}).encode(),
    ],
)
def test_what_was_not_encoded_is_refused_and_runs_nothing(data, capsys):
    with pytest.raises(ValueError):  # noqa: PT011
        decode(data)
    assert capsys.readouterr().out == ""
