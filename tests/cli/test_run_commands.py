"""predict, evaluate, plan and models on what a training run leaves, as a user types them."""

import json

import keras
import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

import kerasrec as kr
from kerasrec import etl
from kerasrec.cli import app
from kerasrec.datasets import metrics


def run(*args: object, width: int = 200):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": str(width)})


def rows(count: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    user, x = rng.integers(0, 20, count), rng.normal(size=count)
    logit = np.where(user < 10, -1.5, 1.5) + x
    return pl.DataFrame(
        {
            "row": [f"r{i}" for i in range(count)],
            "user id": [None if u == 7 else int(u) for u in user],
            "a.b": [["hot", "new"] if i % 3 == 0 else ["new"] if i % 3 == 1 else [] for i in range(count)],
            "größe": np.where(rng.random(count) < 0.05, np.nan, x),
            "clicked": (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int64),
            "spent": 2 * logit,
        }
    )


def save_run(folder, targets):
    frame = rows(3000, 0)
    ids = ["user id", "a.b"] >> etl.Categorify()
    workflow = etl.Workflow(ids + (["größe"] >> etl.FillMissing() >> etl.Normalize()) + (targets >> etl.Target()))
    workflow.fit(frame).transform(frame).to_parquet(folder / "features")
    train = kr.Loader(folder / "features", batch_size=128, shuffle=True)
    keras.utils.set_random_seed(0)
    model = kr.models.DCN(train.schema, embedding_dim=4, deep_units=[16])
    model.compile(keras.optimizers.Adagrad(0.1))
    model.fit(train, epochs=2, verbose=0)
    workflow.save(folder / "run" / "workflow")
    model.save(folder / "run" / "model.keras")
    return folder / "run", workflow, model


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("one"), ["clicked"])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("two"), ["clicked", "spent"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "new rows.parquet"
    rows(1000, 1).write_parquet(path, row_group_size=300)
    return path


def expected(workflow, model, frame):
    return model.predict(kr.Loader(workflow.transform(frame), targets=[]), verbose=0)


# ---- predict ------------------------------------------------------------------------------------------------
def test_predictions_are_those_of_the_model_in_the_order_of_the_rows_beside_what_is_kept(one, data, tmp_path):
    folder, workflow, model = one
    result = run("predict", folder, data, "--out", tmp_path / "p.parquet", "--keep", "row,user id,a.b")
    assert result.exit_code == 0, result.output
    frame, raw = pl.read_parquet(tmp_path / "p.parquet"), rows(1000, 1)
    assert frame.columns == ["row", "user id", "a.b", "prediction"]
    assert frame.drop("prediction").equals(raw.select("row", "user id", "a.b"))
    np.testing.assert_allclose(frame["prediction"], expected(workflow, model, raw)[:, 0], atol=1e-6)
    assert "p.parquet: 1,000 rows; mean of prediction 0." in result.output


def test_rows_need_no_targets_and_may_have_other_columns_and_several_targets_are_several_columns(two, tmp_path):
    folder, workflow, model = two
    raw = rows(200, 2)
    raw.drop("clicked", "spent", "a.b").with_columns(other=1).write_csv(tmp_path / "new.csv")
    result = run("predict", folder, tmp_path / "new.csv", "--out", tmp_path / "p.csv")
    assert result.exit_code == 1
    assert "'a.b'" in result.stderr  # the one column that the model does need
    raw.drop("clicked", "spent").with_columns(other=1).write_parquet(tmp_path / "new.parquet")
    result = run("predict", folder, tmp_path / "new.parquet", "--out", tmp_path / "p.csv", "--keep", "row")
    assert result.exit_code == 0, result.output
    frame = pl.read_csv(tmp_path / "p.csv")
    assert frame.columns == ["row", "prediction_clicked", "prediction_spent"]
    for target, values in expected(workflow, model, raw).items():
        np.testing.assert_allclose(frame[f"prediction_{target}"], values[:, 0], atol=1e-5)


def test_no_rows_are_a_file_without_rows_and_one_row_is_one_prediction(one, tmp_path):
    for count in (0, 1):
        rows(3, 1).head(count).write_parquet(tmp_path / f"{count}.parquet")
        out = tmp_path / f"p{count}.parquet"
        result = run("predict", one[0], tmp_path / f"{count}.parquet", "--out", out, "--keep", "row")
        assert result.exit_code == 0, result.output
        frame = pl.read_parquet(out)
        assert frame.schema == {"row": pl.String(), "prediction": pl.Float32()}
        assert len(frame) == count


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "p.json"), "--out: p.json must end in .parquet or .csv"),
        (("--keep", "rwo"), "--keep: no column 'rwo' in"),
        (("--keep", "rwo"), "did you mean 'row'?"),
        (
            ("--out", "p.csv", "--keep", "a.b"),
            "--keep: 'a.b' is List(String), which CSV cannot express; use .parquet",
        ),
        (("--out", "there.csv"), "there.csv exists; choose another --out, or pass --overwrite"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(one, data, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    result = run("predict", one[0], data, *options)
    assert result.exit_code == 1
    assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_kept_column_with_the_name_of_the_predictions_is_refused(one, tmp_path):
    rows(10, 0).with_columns(prediction=1).write_parquet(tmp_path / "d.parquet")
    result = run("predict", one[0], tmp_path / "d.parquet", "--keep", "prediction", "--out", tmp_path / "p.csv")
    assert (
        result.stderr
        == "error: --keep: 'prediction' is the name of the predictions; rename that column in the data\n"
    )


def test_an_earlier_file_is_replaced_if_asked_and_a_folder_that_is_no_run_is_named(one, data, tmp_path):
    (tmp_path / "p.csv").write_text("old")
    result = run("predict", one[0], data, "--out", tmp_path / "p.csv", "--overwrite")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "p.csv").read_text().startswith("prediction\n")
    for command in ("predict", "evaluate"):
        wrong = run(command, tmp_path, data)
        assert (
            f"{tmp_path} was not written by kerasrec train: it has no workflow and no model.keras" in wrong.stderr
        )
        assert f"there is no folder {tmp_path}/x" in run(command, tmp_path / "x", data).stderr


# ---- evaluate -----------------------------------------------------------------------------------------------
def test_figures_are_those_of_the_rows_beside_their_base_rate(two, data, tmp_path):
    folder, workflow, model = two
    result = run("evaluate", folder, data, "--by", "user id, a.b", "--out", tmp_path / "e.json")
    assert result.exit_code == 0, result.output
    written, raw = json.loads((tmp_path / "e.json").read_text()), rows(1000, 1)
    outputs = expected(workflow, model, raw)
    clicked, spent = written["targets"]["clicked"], written["targets"]["spent"]
    assert written["rows"] == 1000
    assert clicked["model"]["auc"] == pytest.approx(metrics.auc(raw["clicked"], outputs["clicked"]), abs=1e-6)
    assert clicked["base rate"]["logloss"] == pytest.approx(
        metrics.log_loss(raw["clicked"], np.full(1000, raw["clicked"].mean()))
    )
    assert spent["model"]["rmse"] == pytest.approx(metrics.rmse(raw["spent"], outputs["spent"]), rel=1e-5)
    assert spent["base rate"]["rmse"] == pytest.approx(raw["spent"].std(ddof=0))
    assert {segment["column"] for segment in clicked["segments"]} == {"user id", "a.b"}
    for said in ("clicked, 1,000 rows", "spent, 1,000 rows", "base rate", "by user id", "by a.b", "other values"):
        assert said in result.output
    again = run("evaluate", folder, data, "--out", tmp_path / "e.json")
    assert again.stderr == f"error: {tmp_path}/e.json exists; choose another --out, or pass --overwrite\n"


def test_rows_whose_target_is_null_are_counted_and_the_others_have_their_segments(two, data, tmp_path):
    raw = pl.read_parquet(data)
    holes = raw.with_columns(
        pl.when(pl.int_range(pl.len()) % 10 == 3).then(None).otherwise("clicked").alias("clicked")
    )
    holes.write_parquet(tmp_path / "holes.parquet")
    holes.drop_nulls("clicked").write_parquet(tmp_path / "known.parquet")
    written = []
    for name in ("holes", "known"):
        out = tmp_path / f"{name}.json"
        result = run("evaluate", two[0], tmp_path / f"{name}.parquet", "--by", "user id", "--out", out)
        assert result.exit_code == 0, result.output
        assert ("100 rows are left out, because a target is null." in result.output) == (name == "holes")
        written.append(json.loads(out.read_text()))
    assert written[0] == written[1]
    assert written[0]["rows"] == 900


def test_a_columns_name_is_not_markup(one, data, tmp_path):
    pl.read_parquet(data).with_columns(pl.col("row").str.slice(0, 2).alias("[/]")).write_parquet(
        tmp_path / "d.parquet"
    )
    result = run("evaluate", one[0], tmp_path / "d.parquet", "--by", "[/]")
    assert result.exit_code == 0, result.output
    assert "by [/]" in result.output


def test_every_help_text_is_sentences_that_fit_80_columns():
    commands = ["demo", "predict", "evaluate", "models", "plan", "export", "doctor"]
    for command in commands:
        output = run(command, "--help", width=80).output
        assert max(map(len, output.splitlines())) <= 80
        assert ("[required]" in output) == (command in ("predict", "evaluate", "plan", "export"))
    for command in typer.main.get_command(app).commands.values():
        for parameter in command.params:
            text = getattr(parameter, "help", None) or "."
            assert text[0].isupper() or text.startswith("kerasrec"), (command.name, parameter.name, text)
            assert text.endswith("."), (command.name, parameter.name, text)


def test_rows_of_one_class_have_no_auc_and_rows_without_targets_are_refused(one, tmp_path):
    rows(500, 3).filter(pl.col("clicked") == 1).write_parquet(tmp_path / "ones.parquet")
    result = run("evaluate", one[0], tmp_path / "ones.parquet", "--out", tmp_path / "e.json")
    assert result.exit_code == 0, result.output
    assert "There is no AUC, because 'clicked' is 1 in every row." in result.output
    assert json.loads((tmp_path / "e.json").read_text())["targets"]["clicked"]["model"]["auc"] is None
    rows(10, 3).drop("clicked").write_parquet(tmp_path / "none.parquet")
    result = run("evaluate", one[0], tmp_path / "none.parquet")
    assert result.exit_code == 1
    assert "'clicked'" in result.stderr
    rows(10, 3).head(0).write_parquet(tmp_path / "empty.parquet")
    assert "has no rows to evaluate on" in run("evaluate", one[0], tmp_path / "empty.parquet").stderr
    assert (
        "--by: no column 'usr id'" in run("evaluate", one[0], tmp_path / "ones.parquet", "--by", "usr id").stderr
    )


# ---- plan and models ----------------------------------------------------------------------------------------
def test_a_plan_of_a_run_is_that_of_its_models_schema_and_width(one, tmp_path):
    folder = one[0]
    planned = run("plan", folder, "--ranks", 2)
    assert planned.exit_code == 0, planned.output
    one[2].schema.save(tmp_path / "schema.json")
    assert planned.output == run("plan", tmp_path / "schema.json", "--ranks", 2, "--embedding-dim", 4).output
    assert planned.output != run("plan", folder, "--ranks", 2, "--embedding-dim", 8).output
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model.keras").write_bytes(b"PK nothing")
    broken = run("plan", tmp_path / "damaged")
    assert broken.exit_code == 1
    assert "model.keras: no schema of a kr.model in it" in broken.stderr


def test_models_are_listed_with_their_arguments_and_fit_80_columns():
    result = run("models", width=80)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    named = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert {"dlrm", "dcn", "deepfm", "wide-and-deep"} <= set(named)
    for said in ("cross_layers=3", "embedding_dim=", "dropout=0.0", "embeddings_regularizer=None"):
        assert said in result.output
