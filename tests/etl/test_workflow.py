"""A whole workflow: sources, schemas, targets, saving."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import SchemaError, Tag

FRAME = pl.DataFrame(
    {
        "user": ["ann", "bob", "ann", None, "", "a\nb"],
        "item": [1, 2, 2, None, 3, 3],
        "genres": [["x", "y"], [], None, ["x", None], ["z"], ["z"]],
        "age": [20.0, None, float("nan"), 40.0, 60.0, 1.0],
        "seen": [1, 2, 3, 4, 5, 6],
        "clicked": [0, 1, 0, 1, 1, 0],
    }
)


def make() -> etl.Workflow:
    cats = ["user", "item", "genres"] >> etl.Categorify()
    ages = ["age"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
    groups = ["age"] >> etl.Bucketize([30, 50]) >> etl.Rename(postfix="_group")
    label = ["clicked"] >> etl.Target()
    return etl.Workflow(cats + ages + groups + ["seen"] + label)


@pytest.fixture(scope="module")
def fitted() -> etl.Workflow:
    return make().fit(FRAME)


# ---- sources -------------------------------------------------------------------------------------
def sources(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    FRAME.head(2).write_parquet(folder / "part-0.parquet")
    FRAME.slice(2).write_parquet(folder / "part-1.parquet")
    return {
        "glob": str(folder / "*.parquet"),
        "folder": folder,
        "paths": [folder / "part-0.parquet", str(folder / "part-1.parquet")],
        "lazy frame": FRAME.lazy(),
        "arrow": FRAME.to_arrow(),
        "scan": pl.scan_parquet(folder / "*.parquet"),
    }


@pytest.mark.parametrize("kind", ["glob", "folder", "paths", "lazy frame", "arrow", "scan"])
def test_every_source_is_the_same(kind: str, fitted: etl.Workflow, tmp_path: Path) -> None:
    source = sources(tmp_path / "raw")[kind]
    workflow = make().fit(source)
    assert workflow.output_schema == fitted.output_schema
    assert workflow.input_schema == fitted.input_schema
    assert_frame_equal(workflow.transform(source).collect(), fitted.transform(FRAME).collect(), check_exact=True)


def test_pandas(fitted: etl.Workflow) -> None:
    pandas = pytest.importorskip("pandas")
    frame = FRAME.drop("item", "genres").to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    workflow = etl.Workflow((["user"] >> etl.Categorify()) + (["age"] >> etl.FillMissing()) + ["seen"])
    got = workflow.fit(frame).transform(frame).collect()
    assert got["user"].to_list() == fitted.transform(FRAME).collect()["user"].to_list()
    assert got["age"].to_list() == [20.0, 0.0, 0.0, 40.0, 60.0, 1.0]


def test_csv(tmp_path: Path) -> None:
    flat = FRAME.drop("genres")
    flat.head(3).write_csv(tmp_path / "a.csv")
    flat.slice(3).write_csv(tmp_path / "b.csv")
    flat.write_csv(tmp_path / "c.tsv", separator="\t")
    cats = ["user", "item"] >> etl.Categorify()
    workflow = etl.Workflow(cats + (["age"] >> etl.FillMissing()) + ["seen"] + (["clicked"] >> etl.Target()))
    expected = workflow.fit_transform(flat).collect()
    for source in (str(tmp_path / "*.csv"), tmp_path / "c.tsv"):
        assert_frame_equal(workflow.fit_transform(source).collect(), expected)
    # Types are those that were fitted, whatever the new file's rows look like.
    (tmp_path / "new.csv").write_text("user,item,age,seen,clicked\n1,7,30,1,0\n")
    assert workflow.transform(tmp_path / "new.csv").collect()["user"].to_list() == [2]


def test_types_that_are_read_as_others() -> None:
    frame = pl.DataFrame(
        {
            "c": pl.Series(["a", "b"], dtype=pl.Categorical),
            "d": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)),
            "v": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int32, 2)),
        }
    )
    workflow = etl.Workflow((["c", "v"] >> etl.Categorify()) + ["d"])
    got = workflow.fit_transform(frame).collect()
    assert got.rows() == [(3, [3, 4], 1.5), (4, [5, 6], 2.5)]
    assert [column.dtype for column in workflow.input_schema] == ["string", "int32", "float64"]


def test_an_empty_frame(fitted: etl.Workflow, tmp_path: Path) -> None:
    dataset = fitted.transform(FRAME.head(0))
    assert dataset.collect().shape == (0, 7)
    dataset.to_parquet(tmp_path / "empty")
    assert pl.read_parquet(tmp_path / "empty" / "*.parquet").schema == fitted.transform(FRAME).collect().schema


# ---- schemas -------------------------------------------------------------------------------------
def test_output_schema(fitted: etl.Workflow) -> None:
    schema = fitted.output_schema
    assert schema.names == ["user", "item", "genres", "age", "age_group", "seen", "clicked"]
    assert [c.dtype for c in schema] == ["int32", "int32", "int32", "float32", "int32", "int64", "float32"]
    assert [c.cardinality for c in schema] == [7, 6, 6, None, 6, None, None]
    assert schema.continuous.names == ["age", "seen"]
    assert schema.select(Tag.BINARY).names == ["clicked"]
    assert not any(column.nullable for column in schema)
    hotness = schema["genres"].hotness
    assert hotness is not None
    assert (hotness.min, hotness.mean, hotness.max) == (0, 1.0, 2)


def test_input_schema_and_raw_signature(fitted: etl.Workflow) -> None:
    schema = fitted.input_schema
    assert {c.name for c in schema if c.nullable} == {"user", "item", "genres", "age"}
    assert schema.targets.names == ["clicked"]
    assert fitted.raw_signature() == {
        "user": ("string", (None,)),
        "user__valid": ("bool", (None,)),
        "item": ("int64", (None,)),
        "item__valid": ("bool", (None,)),
        "genres__values": ("string", (None,)),
        "genres__offsets": ("int64", (None,)),
        "genres__valid": ("bool", (None,)),
        "age": ("float64", (None,)),
        "age__valid": ("bool", (None,)),
        "seen": ("int64", (None,)),
    }


def test_a_column_of_features_and_targets_is_no_target() -> None:
    seen = ["seen"] >> etl.Rename(postfix="_feature")
    workflow = etl.Workflow(seen + (["seen"] >> etl.Target())).fit(FRAME)
    assert workflow.input_schema.targets.names == []


# ---- targets -------------------------------------------------------------------------------------
def test_scoring_rows_without_targets(fitted: etl.Workflow) -> None:
    rows = FRAME.drop("clicked")
    with pytest.raises(SchemaError, match="no column 'clicked'; available: .*; pass targets=False"):
        fitted.transform(rows)
    dataset = fitted.transform(rows, targets=False)
    assert dataset.schema == fitted.output_schema.features
    assert_frame_equal(dataset.collect(), fitted.transform(FRAME).collect().drop("clicked"))
    with pytest.raises(SchemaError, match="no column 'user'") as error:
        fitted.transform(rows.drop("user"), targets=False)
    assert "targets=False" not in str(error.value)


# ---- state ---------------------------------------------------------------------------------------
def test_not_fitted(tmp_path: Path) -> None:
    for use in (
        lambda: make().transform(FRAME),
        lambda: make().output_schema,
        lambda: make().save(tmp_path / "w"),
        lambda: make().vocabulary("user"),
    ):
        with pytest.raises(RuntimeError, match=r"the workflow is not fitted; call fit\(source\) first"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_fit_changes_nothing() -> None:
    workflow = make().fit(FRAME)
    before = workflow.transform(FRAME).collect()
    with pytest.raises(SchemaError):
        workflow.fit(FRAME.with_columns(seen=None).cast({"seen": pl.Int64}))
    assert_frame_equal(workflow.transform(FRAME).collect(), before)


def test_fitting_again_forgets() -> None:
    workflow = make().fit(FRAME).fit(FRAME.head(3))
    assert workflow.vocabulary("user")["value"].to_list() == [None, None, "ann", "bob"]


def test_save_and_load(fitted: etl.Workflow, tmp_path: Path) -> None:
    fitted.save(tmp_path / "w")
    loaded = etl.Workflow.load(tmp_path / "w")
    assert repr(loaded) == repr(fitted)
    assert (loaded.input_schema, loaded.output_schema) == (fitted.input_schema, fitted.output_schema)
    assert_frame_equal(loaded.transform(FRAME).collect(), fitted.transform(FRAME).collect(), check_exact=True)
    assert_frame_equal(loaded.vocabulary("genres"), fitted.vocabulary("genres"))
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        fitted.save(tmp_path / "w")
    loaded.save(tmp_path / "w", overwrite=True)
    assert etl.Workflow.load(tmp_path / "w").output_schema == fitted.output_schema
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_load_refuses_what_save_did_not_write(fitted: etl.Workflow, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no workflow at"):
        etl.Workflow.load(tmp_path)
    file = fitted.save(tmp_path / "w") / "workflow.json"
    text = file.read_text()
    version = {**json.loads(text), "kerasrec_workflow": 99}
    for broken, message in [
        (text[:-20], "not readable as JSON"),
        ("[]", "not a kerasrec workflow"),
        (json.dumps(version), "the workflow has version 99"),
        (text.replace('"Normalize"', '"Sqrt"'), "invalid workflow: KeyError: 'Sqrt'"),
        (text.replace('"parents": [0]', '"parents": [50]'), "invalid workflow: IndexError"),
        (text.replace('"facts"', '"fact"'), "invalid workflow"),
        (text.replace('"nodes"', '"knots"'), "invalid workflow: KeyError: 'nodes'"),
    ]:
        assert broken != text
        file.write_text(broken)
        with pytest.raises(SchemaError, match=message) as error:
            etl.Workflow.load(tmp_path / "w")
        assert str(file) in str(error.value)
    file.write_text(text)
    vocabulary = next((tmp_path / "w").glob("*.parquet"))
    vocabulary.write_bytes(vocabulary.read_bytes()[:-10])
    with pytest.raises(SchemaError, match=vocabulary.name):
        etl.Workflow.load(tmp_path / "w")


def test_nulls_are_counted_in_footers_where_these_tell_all(tmp_path):
    """Of several row groups and files; floats are read for their NaN, a file without statistics for all."""
    table = pa.table({"x": [1, None, 3], "s": ["a", None, None], "f": [1.0, math.nan, 2.0], "l": [[1], [], None]})
    names = []
    for place, statistics in enumerate([True, True, False]):
        names.append(tmp_path / f"{place}.parquet")
        pq.write_table(table, names[-1], row_group_size=2, write_statistics=statistics)
    assert scan(names[:2]).null_counts() == {"x": 2, "s": 4}
    assert scan(names).null_counts() == {}
    assert all(part.null_counts() == {} for part in scan(names[:1]).parts(2))

    def fitted(files):
        return (
            etl.Workflow((["s"] >> etl.Categorify()) + (["x", "f"] >> etl.FillMissing())).fit(files).input_schema
        )

    for files in (names[:2], names):
        told = fitted(files)
        assert [column.nullable for column in told] == [True, True, True]
    pq.write_table(table.slice(0, 1), names[0])
    told = fitted(names[0])
    assert [column.nullable for column in told] == [False, False, False]


def test_columns_computes_only_these_and_needs_only_what_they_depend_on():
    frame = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "price": [1.0, 3.0], "clicked": [0, 1]})
    prices = ["price"] >> etl.Normalize()
    workflow = etl.Workflow((["user", "item"] >> etl.Categorify()) + prices + (["clicked"] >> etl.Target()))
    everything = workflow.fit_transform(frame).collect()
    dataset = workflow.transform(frame.select("price", "item"), columns=["price", "item"])
    assert dataset.schema == workflow.output_schema.subset(["price", "item"])
    assert dataset.collect().equals(everything.select("price", "item"))
    with pytest.raises(KeyError, match="no column 'prize'; available: user, item, price, clicked"):
        workflow.transform(frame, columns=["prize"])
    with pytest.raises(SchemaError, match="no column 'user'"):
        workflow.transform(frame.select("item"), columns=["user", "item"])
