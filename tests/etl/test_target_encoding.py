"""TargetEncoding against NumPy, row by row by the definition; and no row sees its own target."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from served_frames import assert_served_as_transformed, parts, transformed

from kerasrec import etl
from kerasrec.etl.sources.types import ROW
from kerasrec.schema import Column, SchemaError

SCHEMA = {"user": pl.String, "item": pl.Int64, "y": pl.Int8, "z": pl.Float64, "part": pl.Int32}
ROWS = st.tuples(
    st.none() | st.sampled_from(["", "a", "b"]),
    st.none() | st.sampled_from([0, 1, 2**40]),
    st.none() | st.integers(0, 1),
    st.none() | st.floats(-100, 100, width=32),
    st.none() | st.integers(-2, 4),
)
KEYS = {"user": ["user"], "item": ["item"], "user_item": ["user", "item"]}


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def fold_of(row: int, kfold: int, seed: int) -> int:
    """SplitMix64 in plain Python."""

    def splitmix64(x: int) -> int:
        m = 2**64 - 1
        x = (x + 0x9E3779B97F4A7C15) & m
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & m
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & m
        return x ^ (x >> 31)

    return splitmix64((splitmix64(seed) + row) & (2**64 - 1)) % kfold


def encoded(
    seen: pl.DataFrame,
    new: pl.DataFrame,
    key: list[str],
    target: str,
    p: float,
    folds: tuple[list[int], list[int]],
) -> list[float]:
    """For each new row the encoding by the seen rows of other folds; folds of -1 are nobody's."""
    values = seen[target].to_list()
    known = [v for v in values if v is not None]
    mean, made = sum(known) / len(known), []
    for row, fold in zip(new.select(key).rows(), folds[1], strict=True):
        of_seen = zip(seen.select(key).rows(), values, folds[0], strict=True)
        some = [v for other, v, f in of_seen if other == row and f != fold and v is not None]
        made.append((sum(some) + p * mean) / (len(some) + p) if len(some) + p else mean)
    return made


@given(
    seen=st.lists(ROWS, max_size=20),
    new=st.lists(ROWS, max_size=5),
    kfold=st.integers(1, 4),
    p=st.sampled_from([0, 1.5, 20]),
    by_column=st.booleans(),
    lazy=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_by_the_definition(
    seen: list[Any], new: list[Any], kfold: int, p: float, by_column: bool, lazy: bool
) -> None:
    fitted, rows = frame([*seen, ("a", 1, 1, 2.5, 0)]), frame(new)
    keys = ["user", "item", ["user", "item"]]
    column = "part" if by_column else None
    op = etl.TargetEncoding(["y", "z"], kfold=kfold, p_smooth=p, fold=column, fold_seed=7)
    workflow = etl.Workflow(keys >> op)
    source = fitted.lazy() if lazy else fitted
    out_of_fold = workflow.fit_transform(source).collect()
    assert_frame_equal(workflow.transform(source).collect(), out_of_fold, check_exact=True)
    folds = [(part or 0) % kfold for part in fitted["part"]] if by_column else None
    folds = folds or [fold_of(row, kfold, 7) for row in range(len(fitted))]
    of_others = folds if kfold > 1 else [-1] * len(fitted)
    of_all, of_new = workflow.transform(source, fitted=False).collect(), workflow.transform(rows).collect()
    for name, key in KEYS.items():
        for target in ("y", "z"):
            nobody = [-1] * len(fitted), [-2] * len(fitted)
            compare = [
                (out_of_fold, encoded(fitted, fitted, key, target, p, (folds, of_others))),
                (of_all, encoded(fitted, fitted, key, target, p, nobody)),
                (of_new, encoded(fitted, rows, key, target, p, (folds, [-1] * len(rows)))),
            ]
            for got, expected in compare:
                np.testing.assert_allclose(got[f"TE_{name}_{target}"], expected, rtol=1e-5, atol=1e-5)


@given(rows=st.lists(ROWS, min_size=1, max_size=20), cuts=st.lists(st.integers(0, 20), max_size=4))
@settings(max_examples=15, deadline=None)
def test_any_split(rows: list[Any], cuts: list[int]) -> None:
    rows = [("a", 1, 1, 2.5, 0), *rows]
    op = (["user", ["item", "user"]] >> etl.TargetEncoding(["y", "z"])).op
    assert op is not None
    columns = [Column("user", "string"), Column("item", "int64"), Column("y", "int8"), Column("z", "float64")]
    numbered = frame(rows).with_row_index(ROW)

    def partial(start: int, size: int) -> list[pl.DataFrame]:
        return [query.collect() for query in op.partial(numbered.slice(start, size).lazy(), columns)]

    def learned(statistics: list[pl.DataFrame]) -> dict[str, pl.DataFrame]:
        op.frames, op.state = {}, {}
        op.finalize(statistics, columns)
        return op.frames

    sizes = [len(part) for part in parts(rows, cuts)]
    some = [partial(sum(sizes[:i]), size) for i, size in enumerate(sizes)]
    nested = some[0]
    for part in some[1:]:
        nested = op.merge([part, nested])
    whole = learned(partial(0, len(rows)))
    for split in (learned(op.merge(some)), learned(nested)):
        assert all(split[name].select("^key:.*$").equals(whole[name].select("^key:.*$")) for name in whole)
        for name in whole:
            assert_frame_equal(whole[name], split[name], rel_tol=1e-9)


@given(seen=st.lists(ROWS, max_size=12), new=st.lists(ROWS, max_size=6))
@settings(max_examples=6, deadline=None)
def test_both_implementations_make_the_same(seen: list[Any], new: list[Any]) -> None:
    """A served row, whether it was fitted or not, gets the encoding of all fitted rows, and needs no target."""
    pytest.importorskip("tensorflow")
    seen = [*seen, (None, None, 1, None, None), ("a", 1, 1, 2.5, 0)]
    encoding = ["item", ["user", "item"]] >> etl.TargetEncoding(["y", "z"], fold="part")
    workflow = etl.Workflow(encoding + (["y"] >> etl.FillMissing() >> etl.Target())).fit(frame(seen))
    assert workflow.raw_signature().keys() == {"user", "user__valid", "item", "item__valid"}
    assert_served_as_transformed(workflow, frame(seen + new).select("user", "item"))


# ---- leaks ---------------------------------------------------------------------------------------
def noise(rows: int, seed: int) -> pl.DataFrame:
    """KeyIndex that say nothing of the target, each with a handful of rows: what an own target leaks from."""
    rng = np.random.default_rng(seed)
    keys, targets = rng.integers(0, rows // 4, rows), rng.integers(0, 2, rows)
    return pl.DataFrame({"user": keys, "y": targets, "id": np.arange(rows)})


TRAIN, NEW = noise(4000, 0), noise(4000, 1)


def make(**settings: Any) -> etl.Workflow:
    return etl.Workflow((["user"] >> etl.TargetEncoding("y", **settings)) + (["y"] >> etl.Target()))


def leak(frame: pl.DataFrame) -> float:
    """How far the encoding goes with the target, whose keys tell nothing."""
    return abs(float(np.corrcoef(frame["TE_user_y"], frame["y"])[0, 1]))


def files(folder: Path, frame: pl.DataFrame) -> list[Path]:
    folder.mkdir()
    for i, start in enumerate(range(0, len(frame), 1500)):
        frame.slice(start, 1500).write_parquet(folder / f"{i}.parquet")
    return sorted(folder.iterdir())


def test_no_row_sees_its_target(tmp_path: Path) -> None:
    """Whatever form the fitted rows come in, if they come whole."""
    files(tmp_path / "train", TRAIN)
    shutil.copytree(tmp_path / "train", tmp_path / "copy")
    TRAIN.write_csv(tmp_path / "train.csv")
    TRAIN.write_parquet(tmp_path / "one.parquet", row_group_size=777)
    forms = {
        "folder": tmp_path / "train",
        "copies": tmp_path / "copy",
        "one file": tmp_path / "one.parquet",
        "csv": tmp_path / "train.csv",
        "frame": TRAIN,
        "lazy": pl.scan_parquet(tmp_path / "one.parquet"),
        "pandas": TRAIN.to_pandas(),
    }
    expected = make().fit_transform(TRAIN).collect()
    assert leak(expected) < 0.06
    assert leak(make(kfold=1).fit_transform(TRAIN).collect()) > 0.3
    for fitted_on in ("folder", "csv", "frame", "lazy"):
        workflow = make().fit(forms[fitted_on])
        assert leak(workflow.transform(NEW).collect()) < 0.06
        assert leak(workflow.transform(TRAIN, fitted=False).collect()) > 0.3
        for form in forms.values():
            assert_frame_equal(workflow.transform(form).collect(), expected, check_exact=True)
    workflow.transform(forms["folder"]).to_parquet(tmp_path / "made")
    assert_frame_equal(pl.read_parquet(tmp_path / "made/*.parquet"), expected, check_exact=True)


def test_a_saved_workflow_knows_its_rows(tmp_path: Path) -> None:
    workflow = make().fit(TRAIN)
    workflow.save(tmp_path / "w")
    loaded = etl.Workflow.load(tmp_path / "w")
    assert repr(loaded) == repr(workflow)
    for new in (TRAIN, NEW):
        expected = workflow.transform(new).collect()
        assert_frame_equal(loaded.transform(new).collect(), expected, check_exact=True)


def test_some_of_the_fitted_files_are_refused(tmp_path: Path) -> None:
    train, new = files(tmp_path / "train", TRAIN), files(tmp_path / "new", NEW)
    workflow = make().fit(train)
    for some in (train[1:], [*train, *new], train[::-1], train[1]):
        with pytest.raises(
            SchemaError, match=r"train.\d.parquet: some, but not all, of these files were used in fit"
        ):
            workflow.transform(some)
        workflow.transform(some, fitted=False)
        with pytest.raises(ValueError, match=r"parquet.*: these are not all .*TargetEncoding\(fold=...\)"):
            workflow.transform(some, fitted=True)
    assert leak(workflow.transform(new).collect()) < 0.06


def test_a_column_deals_the_folds() -> None:
    """Then parts of the fitted rows, in any order, can be told to be fitted."""
    workflow = make(fold="id").fit(TRAIN)
    expected = workflow.transform(TRAIN).collect()
    assert leak(expected) < 0.06
    some = TRAIN.with_row_index().sample(1000, shuffle=True, seed=0)
    got = workflow.transform(some, fitted=True).collect()
    assert_frame_equal(got, expected[some["index"]], check_exact=True)
    with pytest.raises(SchemaError, match="no column 'id'"):
        workflow.transform(some.drop("id"), fitted=True)


def test_operators_behind_learn_what_training_sees() -> None:
    node = ["user"] >> etl.TargetEncoding("y", kfold=2, p_smooth=1) >> etl.Normalize()
    values = etl.Workflow(node).fit_transform(TRAIN).collect().to_series().to_numpy()
    assert np.mean(values) == pytest.approx(0, abs=1e-5)
    assert np.std(values) == pytest.approx(1, abs=1e-5)


def test_behind_a_filter_the_dropped_rows_are_not_learned_from() -> None:
    kept = ["user", "y"] >> etl.Filter(pl.col("y") == 1)
    workflow = etl.Workflow(kept >> etl.TargetEncoding("y", keys=["user"], p_smooth=0)).fit(TRAIN)
    assert workflow.transform(NEW, targets=False).collect().to_series().unique().to_list() == [1.0]
    assert len(workflow.transform(TRAIN).collect()) == TRAIN["y"].sum()


# ---- names, types --------------------------------------------------------------------------------
def test_a_target_out_of_operators() -> None:
    liked = ["z"] >> etl.Target(threshold=0.5) >> etl.Rename("liked")
    rows = frame([("a", 0, 1, 1.0, 0), ("a", 0, 1, 0.0, 0), ("b", 0, 0, 0.0, 1)])
    encoding = ["user"] >> etl.TargetEncoding(liked, p_smooth=0, target_mean=0.25)
    assert encoding.outputs == ["TE_user_liked"]
    workflow = etl.Workflow(encoding + liked).fit(rows)
    new = pl.DataFrame({"user": ["a", "b", "c", None]})
    assert transformed(workflow, new).to_series().to_list() == [0.5, 0.0, 0.25, 0.25]


def test_one_row_and_no_row() -> None:
    workflow = make().fit(TRAIN.head(1))
    assert workflow.transform(TRAIN.head(1)).collect()["TE_user_y"].to_list() == [TRAIN["y"][0]]
    assert workflow.transform(TRAIN.head(0)).collect().shape == (0, 2)


def test_bad_arguments() -> None:
    for op, message in [
        (lambda: etl.TargetEncoding("y", kfold=0), "kfold must be an integer >= 1; got 0"),
        (lambda: etl.TargetEncoding("y", p_smooth=-1), "p_smooth must be finite and >= 0; got -1"),
        (lambda: ["user"] >> etl.TargetEncoding("y", keys=["item"]), r"no column 'item'; available: user"),
        (lambda: ["y"] >> etl.TargetEncoding("y"), "TargetEncoding: no column to use as a key; available: y"),
    ]:
        with pytest.raises(ValueError, match=message):
            op()  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="TargetEncoding: target must have at least one column"):
        ["user"] >> etl.TargetEncoding([])


def test_bad_columns() -> None:
    rows = TRAIN.head(9).with_columns(word=pl.lit("a"), none=pl.lit(None, pl.Int8), x=0.5, tags=pl.lit([1]))
    endless = pl.lit(float("inf"))
    for keys, op, message in [
        (["user"], etl.TargetEncoding("word"), "'word' is string; TargetEncoding takes numbers"),
        (["user"], etl.TargetEncoding("tags"), "'tags' has lists, which cannot be a target"),
        (["user"], etl.TargetEncoding("none"), "'none' has no value to encode by"),
        (["user"], etl.TargetEncoding("huge"), "'huge' has infinities"),
        (["x"], etl.TargetEncoding("y"), "'x' is float64; TargetEncoding takes one string"),
        (["user"], etl.TargetEncoding("y", fold="word"), "'word' assigns folds, so it must be of integers"),
    ]:
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(keys >> op).fit(rows.with_columns(huge=endless))
