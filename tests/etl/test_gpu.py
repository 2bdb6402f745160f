"""`engine="gpu"`: one clear error where it cannot run, and on a GPU the rows of the CPU."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.sources import polars_engine


def refusal() -> str:
    """Why nothing runs on a GPU here; empty where something does."""
    try:
        polars_engine.check("gpu")
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


WHY_NOT = refusal()
on_gpu = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 30, 500),
            "word": [None if i % 7 == 0 else f"w{i % 20}" for i in range(500)],
            "price": [None if i % 9 == 0 else float(x) for i, x in enumerate(rng.lognormal(2, 1, 500))],
            "clicked": rng.integers(0, 2, 500),
        }
    )
    frame.write_parquet(tmp_path / "raw.parquet")
    return tmp_path / "raw.parquet"


def numbers() -> etl.Workflow:
    """Of expressions that cudf-polars translates."""
    price = ["price"] >> etl.FillMissing(1.0) >> etl.Clip(min=0.5) >> etl.LogOp() >> etl.Normalize()
    return etl.Workflow(price + (["clicked"] >> etl.Target()))


def everything() -> etl.Workflow:
    means = ["user"] >> etl.TargetEncoding("clicked", kfold=3)
    return etl.Workflow((["word", "user"] >> etl.Categorify()) + means + numbers()._root)


@pytest.mark.skipif(not WHY_NOT, reason="there is a GPU")
def test_without_a_gpu_the_call_says_what_is_missing(file: Path, tmp_path: Path) -> None:
    missing = importlib.util.find_spec("cudf_polars") is None
    kind = ImportError if missing else RuntimeError
    fitted = numbers().fit(file)
    calls: list[Any] = [
        lambda: numbers().fit(file, engine="gpu"),
        lambda: numbers().fit_transform(file, engine="gpu"),
        lambda: fitted.transform(file, engine="gpu"),
    ]
    for call in calls:
        with pytest.raises(kind, match=r'engine="gpu".*kerasrec\[gpu\].*engine="cpu"') as error:
            call()
        assert "\n" not in str(error.value)


def test_another_engine(file: Path) -> None:
    with pytest.raises(ValueError, match='engine must be "cpu" or "gpu"; got \'cuda\''):
        numbers().fit(file, engine="cuda")


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that passed the check and whose GPU takes no query, which is any machine without one."""
    monkeypatch.setattr(polars_engine, "check", lambda engine: None)
    return


@pytest.mark.skipif(not WHY_NOT, reason="there is a GPU")
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_what_a_gpu_does_not_take_is_computed_and_warned_of(
    file: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kerasrec.etl.dataset.PART_ROWS", 64)
    raw = tmp_path / f"copy{suffix}"
    frame = pl.read_parquet(file)
    frame.write_parquet(raw) if suffix == ".parquet" else frame.write_csv(raw)
    told = "the GPU engine does not run this query, so the CPU does"
    with pytest.warns(RuntimeWarning, match=told):
        data = everything().fit_transform(raw, engine="gpu")
    with pytest.warns(RuntimeWarning, match=told):
        rows = data.collect()
    with pytest.warns(RuntimeWarning, match=told):
        written = data.to_parquet(tmp_path / "out", rows_per_file=150)
    assert_frame_equal(rows, everything().fit_transform(raw).collect(), rel_tol=1e-6)
    assert_frame_equal(pl.read_parquet(sorted(written.glob("*.parquet"))), rows)


@on_gpu
def test_numbers_are_computed_on_the_gpu(file: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of a query that the CPU had to compute
        data = numbers().fit(file).transform(file, engine="gpu")
        rows = data.collect()
        written = data.to_parquet(tmp_path / "out")
    assert_frame_equal(rows, numbers().fit_transform(file).collect(), rel_tol=1e-5)
    assert_frame_equal(pl.read_parquet(sorted(written.glob("*.parquet"))), rows)


@on_gpu
@pytest.mark.filterwarnings("ignore:the GPU engine does not run:RuntimeWarning")
def test_everything_is_as_on_the_cpu(file: Path) -> None:
    mixed = everything().fit_transform(file, engine="gpu").collect()
    assert_frame_equal(mixed, everything().fit_transform(file).collect(), rel_tol=1e-5)
