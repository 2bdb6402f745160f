"""`kerasrec predict` of a SavedModel writes, some rows at a time, what the SavedModel predicts."""

import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.cli import predict_served
from kerasrec.cli.errors import CommandError
from kerasrec.cli.predict import run_predict

ROWS = 50
RAW = pl.DataFrame(
    {
        "user id": [f"u{i % 7}" for i in range(ROWS)],
        "größe [1]": [["a", "b"][: i % 3] for i in range(ROWS)],
        "price": [None if i % 9 == 0 else float(i) for i in range(ROWS)],
        "clicked": [i % 2 for i in range(ROWS)],
        "row": range(ROWS),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    cats = ["user id", "größe [1]"] >> etl.Categorify()
    conts = ["price"] >> etl.FillMissing() >> etl.Normalize()
    workflow = etl.Workflow(cats + conts + (["clicked"] >> etl.Target())).fit(RAW)
    model = kr.models.LR(workflow.output_schema)
    path = tmp_path_factory.mktemp("predict")
    kr.serving.export(model, path / "served", workflow=workflow)
    RAW.write_parquet(path / "rows.parquet")
    return path


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_predictions_are_those_of_the_saved_model_in_the_order_of_rows(
    folder, tmp_path, monkeypatch, capsys, ending
):
    monkeypatch.setattr(predict_served, "BATCH", 8)
    out = tmp_path / f"out{ending}"
    run_predict(folder / "served", str(folder / "rows.parquet"), out, ["row"], False, [])
    written = pl.read_parquet(out) if ending == ".parquet" else pl.read_csv(out)
    assert written.columns == ["row", "prediction"]
    assert written["row"].to_list() == list(range(ROWS))
    expected = kr.serving.load(folder / "served").predict(RAW)["clicked"].ravel()
    np.testing.assert_allclose(written["prediction"], expected, rtol=1e-6)
    assert f"{ROWS} rows; mean of prediction" in " ".join(capsys.readouterr().out.split())


def test_no_rows_give_a_file_of_no_rows(folder, tmp_path):
    RAW.head(0).write_parquet(tmp_path / "none.parquet")
    run_predict(folder / "served", str(tmp_path / "none.parquet"), tmp_path / "out.parquet", [], False, [])
    assert pl.read_parquet(tmp_path / "out.parquet").schema == {"prediction": pl.Float32}


def test_what_is_wrong_is_named_and_nothing_is_written(folder, tmp_path, monkeypatch):
    served, out = folder / "served", tmp_path / "out.parquet"
    RAW.drop("price").write_parquet(tmp_path / "lacks.parquet")
    RAW.with_columns(
        pl.when(pl.col("row") == 40).then(None).otherwise(pl.col("user id")).alias("user id")
    ).write_parquet(tmp_path / "null.parquet")
    with pytest.raises(kr.SchemaError, match="price"):
        run_predict(served, str(tmp_path / "lacks.parquet"), out, [], False, [])
    with pytest.raises(ValueError, match="column 'user id', row 40: null"):
        run_predict(served, str(tmp_path / "null.parquet"), out, [], False, [])
    monkeypatch.setattr(predict_served, "BATCH", 16)
    with pytest.raises(CommandError, match="in the rows from 32 on, .* column 'user id', row 8: null"):
        run_predict(served, str(tmp_path / "null.parquet"), out, [], False, [])
    with pytest.raises(CommandError, match="no column 'rwo'"):
        run_predict(served, str(folder / "rows.parquet"), out, ["rwo"], False, [])
    assert not out.exists()
