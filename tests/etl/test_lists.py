"""ListSlice against Python's slices; ValueCount against lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fitted_tables import ELEMENTS, Fitted, list_columns, same
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.schema import Hotness, SchemaError

SLICES = [(3,), (-2,), (1, 3), (-3, -1), (1, -1), (-2, 2), (0, 2)]


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("dtype", ["int32", "string"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_slices_are_pythons_in_both_implementations(dtype: str, pad: bool, data: Any) -> None:
    bounds = data.draw(st.sampled_from([b for b in SLICES if not pad or b not in [(1, -1), (-2, 2)]]))
    rows = data.draw(list_columns(dtype))
    blank: Any = "?" if dtype == "string" else 9
    side = data.draw(st.sampled_from(["left", "right"]))
    op = etl.ListSlice(*bounds, pad=pad, pad_value=blank, pad_side=side) if pad else etl.ListSlice(*bounds)
    whole = data.draw(ELEMENTS[dtype])
    fitted = Fitted(op, [[whole, None]], dtype, True)
    begin, end = bounds if len(bounds) == 2 else ((0, bounds[0]) if bounds[0] > 0 else (bounds[0], None))
    expected = [(row or [])[begin:end] for row in rows]
    if pad:
        most = -begin if end is None else end - begin
        padding = [[blank] * (most - len(row)) for row in expected]
        pairs = zip(expected, padding, strict=True)
        expected = [more + row if side == "left" else row + more for row, more in pairs]
    got = fitted.polars(rows)
    assert got.to_list() == expected
    same(got, fitted.tensorflow(rows))


@pytest.mark.parametrize("bounds", SLICES)
def test_hotness_is_worked_out(bounds: tuple[int, ...]) -> None:
    frame = pl.DataFrame({"x": [["a"] * n for n in (1, 2, 6, 7)]})
    sliced = ["x"] >> etl.Categorify() >> etl.ListSlice(*bounds)
    workflow = etl.Workflow(sliced >> etl.ValueCount()).fit(frame)
    counted = workflow.output_schema["x"].hotness
    lengths = [len(row) for row in workflow.transform(frame).collect()["x"]]
    assert counted == Hotness(min(lengths), sum(lengths) / 4, max(lengths))
    guessed = etl.Workflow(sliced).fit(frame).output_schema["x"].hotness
    if bounds == (-2, 2):
        assert guessed is None
    else:
        assert (guessed.min, guessed.max) == (counted.min, counted.max)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_ids_are_all_of_one_length(tmp_path: Path, side: Any) -> None:
    frame = pl.DataFrame({"x": [["a", "b", "a"], [], None, ["c"]]})
    workflow = etl.Workflow(["x"] >> etl.Categorify() >> etl.ListSlice(2, pad=True, pad_side=side)).fit(frame)
    last = [0, 5] if side == "left" else [5, 0]
    assert workflow.transform(frame).collect()["x"].to_list() == [[3, 4], [0, 0], [0, 0], last]
    assert workflow.output_schema["x"].hotness == Hotness(2, 2.0, 2)
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    assert again.transform(frame).collect().equals(workflow.transform(frame).collect())
    assert again.transform(frame.head(0)).collect().is_empty()


@pytest.mark.parametrize("lazy", [False, True])
def test_value_count(lazy: bool, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [[1, 2], None, [3]], "y": [[1.0], [2.0], [3.0]]})
    workflow = etl.Workflow(["x", "y"] >> etl.ValueCount()).fit(frame.lazy() if lazy else frame)
    assert workflow.output_schema["x"].hotness == Hotness(0, 1.0, 2)
    assert workflow.output_schema["y"].hotness == Hotness(1, 1.0, 1)
    workflow.save(tmp_path / "w")
    assert etl.Workflow.load(tmp_path / "w").output_schema == workflow.output_schema
    got = Fitted(etl.ValueCount(), [[1, None]], "int64", True)
    assert got.polars([[1], [], None]).to_list() == got.tensorflow([[1], [], None]) == [[1], [], []]


def test_what_is_refused() -> None:
    for bounds in [(0,), (3, 3), (4, 2), (-2, -2), (-1, 0)]:
        with pytest.raises(ValueError, match="ListSlice: the slice from .* is always empty"):
            etl.ListSlice(*bounds)
    with pytest.raises(ValueError, match="pad=True needs start and end on the same side; got 1 and -1"):
        etl.ListSlice(1, -1, pad=True)
    with pytest.raises(ValueError, match='pad_side must be "left" or "right"; got \'both\''):
        etl.ListSlice(3, pad=True, pad_side="both")  # type: ignore[arg-type]
    frame = pl.DataFrame({"x": [1], "l": [[1]]})
    for op in (etl.ListSlice(2), etl.ValueCount()):
        with pytest.raises(SchemaError, match=f"'x' is int64: {type(op).__name__} takes list columns"):
            etl.Workflow(["x"] >> op).fit(frame)
    with pytest.raises(SchemaError, match=r"'l' is int64, and ListSlice\('a'\) is not a value of that type"):
        etl.Workflow(["l"] >> etl.ListSlice(2, pad=True, pad_value="a")).fit(frame)
