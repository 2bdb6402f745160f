"""A dataset as a frame: `len`, `head`, and the frames that it becomes; and rows as dicts in their place."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from kerasrec import etl
from kerasrec.schema import SchemaError

FRAME = pl.DataFrame(
    {
        "user": ["ann", "bob", None, "ann", "eve"],
        "tags": [[1, 2], [], None, [2], [3]],
        "age": [31.5, None, 18.0, 44.0, 5.0],
        "clicked": [1, 0, 1, 0, 1],
    }
)


@pytest.fixture(scope="module")
def workflow():
    cats = ["user", "tags"] >> etl.Categorify()
    conts = ["age"] >> etl.FillMissing() >> etl.Normalize()
    return etl.Workflow(cats + conts + (["clicked"] >> etl.Target())).fit(FRAME)


def test_rows_and_frames(workflow):
    dataset = workflow.transform(FRAME)
    rows = dataset.collect()
    assert len(dataset) == len(rows) == 5
    assert dataset.head(2).equals(rows.head(2))
    assert dataset.head(99).equals(rows)
    assert dataset.to_polars().equals(rows)
    assert dataset.to_arrow().equals(rows.to_arrow())
    pd.testing.assert_frame_equal(dataset.to_pandas(), rows.to_pandas())
    assert repr(dataset).startswith("Dataset of 5 rows from the frame; computed when it is read, by kr.Loader(")
    assert repr(workflow.transform(FRAME.head(1))).startswith("Dataset of 1 row from the frame;")


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_the_length_of_a_dataset_that_drops_rows_is_counted(rows):
    young = ["age"] >> etl.Filter(pl.col("age") < 40)
    workflow = etl.Workflow(young + (["clicked"] >> etl.Target())).fit(FRAME.drop_nulls("age"))
    dataset = workflow.transform(FRAME.drop_nulls("age").head(rows))
    assert len(dataset) == len(dataset.collect())
    assert len(workflow.transform(FRAME.drop_nulls("age").head(rows), targets=False)) == min(rows, 4)


def test_head_raises_for_its_rows_only():
    workflow = etl.Workflow(["age"] >> etl.Normalize()).fit(FRAME.drop_nulls("age"))
    dataset = workflow.transform(FRAME)
    assert len(dataset.head(1)) == 1
    with pytest.raises(SchemaError, match="row 1: column 'age' is null"):
        dataset.head(2)


def columns_of(frame):
    """The same rows in forms that a dict of columns may have."""
    yield frame.to_dict(as_series=False)
    yield {
        "user": frame["user"].to_list(),
        "tags": frame["tags"],
        "age": frame["age"].to_numpy(),
        "clicked": pd.Series(frame["clicked"].to_list()),
    }
    yield {name: frame[name].to_arrow() for name in frame.columns}


def test_rows_as_dicts_and_columns_are_those_of_the_frame(workflow):
    expected = workflow.transform(FRAME).collect()
    sparse = [{name: value for name, value in row.items() if value is not None} for row in FRAME.to_dicts()]
    for data in (FRAME.to_dicts(), tuple(sparse), *columns_of(FRAME)):
        assert workflow.transform(data).collect().equals(expected)
        fitted = etl.Workflow(workflow._root).fit(data)
        assert fitted.transform(FRAME).collect().equals(expected)


def test_vectors_as_rows_of_an_array():
    vectors = np.arange(6, dtype="float32").reshape(3, 2)
    workflow = etl.Workflow(["v"]).fit({"v": vectors})
    assert workflow.transform({"v": vectors}).collect()["v"].to_list() == vectors.tolist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"user": "ann"}, "the dict of columns: 'user' is 'ann'; expected a list or an array"),
        ({"user": ["a"], "age": [1, 2]}, "'age' has 2 values, but 'user' has 1; expected equal lengths"),
        ([{"user": "a"}], "the rows: no column 'tags', 'age', 'clicked'; available: user"),
        ([{"user": 1}, {"user": "a"}], "the rows: .*'tags'"),
        ([{**FRAME.to_dicts()[0], "age": "old"}], "the rows, row 0: column 'age' is String"),
        ([{**FRAME.to_dicts()[0]}, {**FRAME.to_dicts()[0], "user": 5}], "the rows: column 'user' cannot be read"),
    ],
)
def test_dicts_that_do_not_fit(workflow, data, message):
    with pytest.raises(SchemaError, match=message):
        workflow.transform(data).collect()


def test_lists_of_other_things_are_refused(workflow):
    with pytest.raises(TypeError, match="a list of dicts, or a dict of columns; got list with int"):
        workflow.transform([1, 2])
    assert isinstance(workflow.transform(FRAME).to_arrow(), pa.Table)
