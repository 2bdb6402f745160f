"""Names of columns and paths mean what they say: none is read as a pattern, a keyword or a name of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import kerasrec as kr
from kerasrec import etl
from kerasrec.etl.operator.operator import as_node
from kerasrec.files import globs
from kerasrec.schema import SchemaError

OURS = ["self", "key:a", "out a", "0 a", "##out a", "n:a", "fold", "count", "value", "row", "x", "rows", "by"]
ODD = [
    "a.b",
    "a/b",
    "..",
    'q"',
    "it's",
    "new\nline",
    "größe",
    "[x]",
    "a*",
    "^a",
    "a$",
    "%s",
    "{a}",
    "\\",
    "#",
    " ",
    "1",
]
NAMES = st.sampled_from(OURS + ODD) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


def is_taken(name: str) -> bool:
    return name != "*" and not (name.startswith("^") and name.endswith("$")) and "\0" not in name


FOUR = st.lists(NAMES.filter(is_taken), min_size=4, max_size=4, unique=True)
ROWS = {"a": [1, 2, None, 1, 2, 3], "b": [5, 6, 5, None, 6, 5], "c": [0, 1, 1, 0, 1, 0], "d": [3, 1, 4, 1, 5, 9]}
Graph = Callable[[list[str]], Any]
GRAPHS: dict[str, Graph] = {
    "Categorify": lambda n: n >> etl.Categorify(num_buckets={n[0]: 2}),
    "Categorify of combinations": lambda n: n >> etl.Categorify(combo=True),
    "HashedCross": lambda n: n[:2] >> etl.HashedCross(7),
    "JoinGroupby": lambda n: [n[0], n[:2]] >> etl.JoinGroupby(n[2], ["count", "mean", "std"]) >> etl.FillMissing(),
    "TargetEncoding": lambda n: [n[0], n[:2]] >> etl.TargetEncoding(n[2], fold=n[3]),
    "Groupby": lambda n: n >> etl.Groupby(n[0], n[3], ["first", "count", "list"]) >> etl.FillMissing(),
    "Filter": lambda n: n >> etl.Filter(pl.col(n[3]) > 1) >> etl.Filter(lambda c: c[n[2]] == 1) >> etl.DropNA(),
    "DifferenceLag": lambda n: n >> etl.DifferenceLag(n[2]) >> etl.FillMissing(),
    "NegativeSampling": lambda n: n >> etl.FillMissing() >> etl.NegativeSampling(n[0], 2, n[1], n[2], target="y"),
    "Normalize": lambda n: n >> etl.FillMissing(add_binary_cols=True) >> etl.Normalize(),
    "Target": lambda n: (n[:2] >> etl.FillMedian()) + (n[2:] >> etl.Target()),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@given(names=FOUR)
@example(["self", "0 a", "a", "out a"])
@example(["key:a", "a", "n:a", "new\nline"])
@example(["__a", "value", "count", "key"])
@settings(max_examples=5, deadline=None)
def test_operators_do_not_look_at_names(graph: Graph, names: list[str]) -> None:
    """The same as of columns called a, b, c, d."""

    def made(names: list[str]) -> pl.DataFrame:
        frame = pl.DataFrame(ROWS).rename(dict(zip("abcd", names, strict=True)))
        return etl.Workflow(graph(names)).fit(frame, progress=False).transform(frame).collect()

    expected, got = made(["aa", "bb", "cc", "dd"]), made(names)
    assert_frame_equal(got.rename(dict(zip(got.columns, expected.columns, strict=True))), expected)


@given(names=FOUR)
@example(["key:a", "a", "key::a", "self"])
@settings(max_examples=8, deadline=None)
def test_names_of_an_external_frame(names: list[str]) -> None:
    key, other, more, on = names
    external = pl.DataFrame({on: [1, 2, 3], other: [10, 20, 30], more: [7, 8, 9]})
    joined = etl.Workflow([key] >> etl.JoinExternal(external, key, on_ext=on))
    got = joined.fit_transform(pl.DataFrame({key: [3, 1]})).collect()
    assert got.to_dict(as_series=False) == {key: [3, 1], other: [30, 10], more: [9, 7]}


@pytest.mark.parametrize("name", ["", "*", "^a.*$", "^$", "__row__", "a\0b"])
def test_names_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    """They are refused where they are first said, and no trouble in a column that is not read."""
    frame = pl.DataFrame({"a": [1, 2], "ab": [3, 4], name: [5, 6]})
    with pytest.raises(SchemaError, match="rename the column"):
        etl.Workflow([name])
    with pytest.raises(SchemaError, match="rename the column"):
        ["a"] >> etl.Rename({"a": name})
    with pytest.raises(SchemaError, match="rename the column"):
        ["a"] >> etl.JoinExternal(frame, "a", on_ext=name)
    with pytest.raises(SchemaError, match="rename the column"):
        etl.SplitByTime(name)(frame)
    frame.write_parquet(tmp_path / "raw.parquet")
    for source in (frame, tmp_path / "raw.parquet"):
        train, _ = etl.SplitByTime("a", at=[3])(source)
        got = etl.Workflow(["ab"] >> etl.Filter(pl.col("ab") > 3)).fit(train).transform(train).collect()
        assert got.to_dict(as_series=False) == {"ab": [4]}


# ---- paths ---------------------------------------------------------------------------------------------------
def vocabulary(value: str) -> etl.Workflow:
    return etl.Workflow(["item"] >> etl.Categorify()).fit(pl.DataFrame({"item": [value]}))


@pytest.mark.parametrize("name", ["run[1]", "run?", "run*", "[ab]", "a b", "größe"])
def test_folders_go_by_their_names(name: str, tmp_path: Path) -> None:
    """Beside folders that such a pattern would match."""
    others = {"run1", "runs", "a", "b"} - {name}
    for folder, value in [*((other, "wrong") for other in others), (name, "right")]:
        place = tmp_path / folder
        place.mkdir()
        workflow = vocabulary(value)
        workflow.save(place / "workflow")
        pl.DataFrame({"item": [value]}).write_parquet(place / "raw.parquet")
        pl.DataFrame({"item": [value]}).write_csv(place / "raw.csv")
        workflow.transform(place / "*.parquet").to_parquet(place / "data", progress=False)
        assert kr.Schema.load(place / "data").names == ["item"]
    place = tmp_path / name
    assert etl.Workflow.load(place / "workflow").vocabulary("item")["value"].to_list() == [None, None, "right"]
    for source in (place / "raw.parquet", place / "*.parquet", f"{place}/**/raw.parquet", place / "raw.csv"):
        assert etl.Workflow(["item"] >> etl.Categorify()).fit(source).vocabulary("item")["value"][2] == "right"
    for source in (place / "data", place / "data/*.parquet", place / "data/part-00000.parquet"):
        assert kr.Loader(source, batch_size=1).files == [place / "data/part-00000.parquet"]


def test_a_file_is_taken_before_a_pattern(tmp_path: Path) -> None:
    for name in ("a*.parquet", "ab.parquet", "ac.parquet"):
        pl.DataFrame({"item": [name]}).write_parquet(tmp_path / name)
    assert globs.files(tmp_path / "a*.parquet") == [tmp_path / "a*.parquet"]
    assert globs.files(tmp_path / "a[bc].parquet") == [tmp_path / "ab.parquet", tmp_path / "ac.parquet"]
    assert as_node(["x"]).outputs == ["x"]
