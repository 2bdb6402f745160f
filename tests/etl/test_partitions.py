"""Workflows on folders named `column=value`: the same as on a frame that has the columns."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import SchemaError


def make_frame(rows=200):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "day": rng.integers(1, 12, rows),
            "country": rng.choice(["de", "fr", "a/b"], rows),
            "price": rng.normal(size=rows),
            "item": rng.integers(0, 20, rows),
        }
    )
    # in the order in which folders' names are read
    return frame.sort(
        pl.col("day").cast(pl.String), pl.col("country").replace("a/b", "a%2Fb"), maintain_order=True
    )


def write(folder, frame, suffix="parquet"):
    for (day, country), part in frame.group_by("day", "country", maintain_order=True):
        place = folder / f"day={day}" / f"country={country.replace('/', '%2F')}"
        place.mkdir(parents=True)
        getattr(part.drop("day", "country"), f"write_{suffix}")(place / f"part-0.{suffix}")
    return folder


def graph():
    columns = ["country", "item"] >> etl.Categorify()
    return etl.Workflow(columns + (["day", "price"] >> etl.Normalize()))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_partitioned_folder_is_the_frame(tmp_path, suffix):
    frame = make_frame()
    folder = write(tmp_path / "raw", frame, suffix)
    files, whole = graph().fit(folder), graph().fit(frame)
    expected = whole.transform(frame).collect()
    assert_frame_equal(files.transform(folder).collect(), expected)
    assert_frame_equal(files.transform(frame).collect(), expected)
    assert_frame_equal(whole.transform(folder).collect(), expected)
    files.transform(folder).to_parquet(tmp_path / "out")
    assert_frame_equal(pl.read_parquet(tmp_path / "out" / "*.parquet"), expected)
    assert_frame_equal(
        files.transform(str(folder / "day=3" / "*" / f"*.{suffix}")).collect(),
        whole.transform(frame.filter(day=3)).collect(),
    )


def test_parts_as_a_cluster_gets_them(tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle")
    frame = make_frame()
    parts = cloudpickle.loads(cloudpickle.dumps(scan(write(tmp_path, frame)).parts(3)))
    assert len(parts) > 60
    found = pl.concat([part.frame.collect() for part in parts])
    assert_frame_equal(found, frame, check_column_order=False)


def test_types_are_those_fitted_on(tmp_path):
    """Folders of which all look like numbers, of a column fitted on strings."""
    frame = pl.DataFrame({"code": ["a", "7", "7"], "x": [1.0, 2.0, 3.0]})
    workflow = etl.Workflow(["code"] >> etl.Categorify()).fit(frame)
    (tmp_path / "code=7").mkdir()
    frame.select("x").write_parquet(tmp_path / "code=7" / "a.parquet")
    assert workflow.transform(tmp_path).collect()["code"].to_list() == [3, 3, 3]


def test_nulls_what_files_hold_and_files_given_twice(tmp_path):
    for name in ("k=__HIVE_DEFAULT_PARTITION__", "k=1.5"):
        (tmp_path / "x=9" / name).mkdir(parents=True)
        pl.DataFrame({"x": [1.0, 2.0]}).write_parquet(tmp_path / "x=9" / name / "a.parquet")
    workflow = etl.Workflow(["k", "x"] >> etl.FillMissing(0.25)).fit([tmp_path, tmp_path])
    found = workflow.transform(tmp_path).collect()
    assert sorted(found["k"].to_list()) == [0.25, 0.25, 1.5, 1.5]
    assert found["x"].to_list() == [1.0, 2.0, 1.0, 2.0]


def test_errors(tmp_path):
    frame = pl.DataFrame({"x": [1.0, 2.0]})
    (tmp_path / "k=1").mkdir()
    frame.write_parquet(tmp_path / "k=1" / "a.parquet")
    workflow = etl.Workflow(["k"] >> etl.Normalize()).fit(tmp_path)
    (tmp_path / "k=x").mkdir()
    frame.write_parquet(tmp_path / "k=x" / "a.parquet")
    with pytest.raises(SchemaError, match="k=x/a.parquet: column 'k' is 'x' in the name .* should be Int64"):
        workflow.transform(tmp_path)
    frame.write_parquet(tmp_path / "z.parquet")
    with pytest.raises(
        SchemaError, match="z.parquet: no folder in this path is named k=..., but one in .*k=1/a.parq"
    ):
        etl.Workflow(["k"] >> etl.Normalize()).fit(tmp_path)
    with pytest.raises(ValueError, match=r's3://b/raw: a workflow reads .* pl.scan_parquet\("s3://b/raw"'):
        workflow.fit("s3://b/raw")
