"""The command line on small tables, as a user types it."""

import json
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import kerasrec
from kerasrec.cli import app
from kerasrec.cli.errors import Refused, one_line_errors

ROWS = 3000


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


def clicks(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """A click depends on user and site, on price, and on whether the tags hold 'hot'."""
    rng = np.random.default_rng(seed)
    user, site, price = rng.integers(0, 8, rows), rng.integers(0, 4, rows), rng.lognormal(0, 1, rows)
    hot = rng.random(rows) < 0.5
    logit = 2.0 * ((user + site) % 2) - 2 + hot - 0.5 * np.log(price)
    return pl.DataFrame(
        {
            "row_id": np.arange(rows),
            "user_id": user * 1000 + 17,
            "site": [None if s == 3 else f"site {s}" for s in site],
            "price": np.where(rng.random(rows) < 0.05, np.nan, price),
            "same": np.ones(rows, np.int64),
            "tags": [["hot", "new"] if h else ["new"] if i % 3 else [] for i, h in enumerate(hot)],
            "clicked": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64),
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "clicks.parquet"
    clicks().write_parquet(path)
    return path


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    result = run("train", data, "--target", "clicked", "--out", out, "--epochs", 6, "--embedding-dim", 8)
    assert result.exit_code == 0, result.output
    return out, result.output


# ---- train and export ---------------------------------------------------------------------------------------
def test_train_prints_roles_and_learns(trained):
    out, said = trained
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    for name, role, reason in [
        ("row_id", "dropped", "numbers the rows"),
        ("user_id", "categorical", "named as an id"),
        ("site", "categorical", "strings that repeat"),
        ("price", "continuous", "decimals"),
        ("same", "dropped", "the same value everywhere"),
        ("tags", "categorical", "lists of strings"),
        ("clicked", "target", "0 or 1"),
    ]:
        assert role in lines[name]
        assert reason in lines[name]
    assert sorted(path.name for path in out.iterdir()) == ["model.keras", "report", "workflow"]
    summary = json.loads((out / "report" / "summary.json").read_text())
    assert summary["task"] == "binary"
    assert summary["auc"] > 0.68
    assert f"AUC {summary['auc']:.4f}, log loss {summary['logloss']:.4f}" in said
    assert (out / "report" / "learning_curve.png").stat().st_size > 5000
    assert (out / "report" / "calibration.png").stat().st_size > 5000


def test_export_serves_raw_rows_as_the_model_predicts(trained, tmp_path):
    import keras
    import tensorflow as tf

    out, _ = trained
    result = run("export", out, tmp_path / "served")
    assert result.exit_code == 0, result.output
    assert "tags__offsets: int64" in result.output
    raw = clicks(50, seed=9)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    answer = served(**kerasrec.serving.rows(raw, tmp_path / "served"))["clicked"]
    workflow = kerasrec.etl.Workflow.load(out / "workflow")
    workflow.transform(raw).to_parquet(tmp_path / "features")
    loader = kerasrec.Loader(tmp_path / "features", batch_size=50, targets=[])
    predicted = keras.saving.load_model(out / "model.keras").predict(loader, verbose=0)
    np.testing.assert_allclose(answer, predicted, atol=1e-6)
    again = run("export", out, tmp_path / "served")
    assert again.exit_code == 1
    assert again.stderr == f"error: {tmp_path}/served exists; choose another folder, or pass --overwrite\n"
    assert run("export", out, tmp_path / "served", "--overwrite").exit_code == 0


def test_a_csv_with_its_own_valid_part_and_corrected_roles(tmp_path):
    columns = ["user_id", "site", "price", "same", "clicked"]
    clicks(1500).select(columns).write_csv(tmp_path / "train.csv")
    clicks(300, seed=1).select(columns).write_csv(tmp_path / "valid.csv")
    result = run(
        "train", tmp_path / "train.csv", "--target", "price", "--model", "deepfm", "--out", tmp_path / "run",
        "--valid", tmp_path / "valid.csv", "--categorical", "user_id, clicked", "--drop", "site",
        "--epochs", 1, "--export",
    )  # fmt: skip
    assert result.exit_code == 1
    assert result.stderr.startswith("error: target 'price' has nulls")
    assert not (tmp_path / "run").exists()
    result = run(
        "train", tmp_path / "train.csv", "--target", "user_id", "--model", "deepfm", "--out", tmp_path / "run",
        "--valid", tmp_path / "valid.csv", "--categorical", "clicked", "--drop", "price,same", "--epochs", 1,
        "--task", "regression", "--export",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "RMSE" in result.output
    summary = json.loads((tmp_path / "run" / "report" / "summary.json").read_text())
    assert (summary["task"], summary["rows"]) == ("regression", 1500)
    assert (tmp_path / "run" / "served" / "saved_model.pb").exists()


def test_the_held_out_rows_are_the_same_every_time():
    from kerasrec.cli.train import hold_out

    frame = pl.DataFrame({"x": np.arange(100_000)}).lazy()
    train, held = (part.collect() for part in hold_out(frame, 0.1))
    assert abs(len(held) - 10_000) < 100
    assert sorted([*train["x"], *held["x"]]) == list(range(100_000))
    assert held.equals(hold_out(frame, 0.1)[1].collect())
    assert held["x"].head(50_000 // 10).max() < 55_000  # spread over the whole table


# ---- bad input ----------------------------------------------------------------------------------------------
def refused(*args: object) -> str:
    result = run("train", *args)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_bad_input_is_one_line(data, tmp_path):
    out = ("--out", tmp_path / "run")
    assert "no file matches" in refused(tmp_path / "none.parquet", "--target", "clicked", *out)
    assert "no column 'clickd'; did you mean 'clicked'?" in refused(data, "--target", "clickd", *out)
    unknown = refused(data, "--target", "clicked", "--categorical", "usr_id", *out)
    assert "--categorical: no column 'usr_id'; did you mean 'user_id'?" in unknown
    assert "is not 0/1" in refused(data, "--target", "row_id", "--task", "binary", *out)
    for name, content, message in [
        ("empty.csv", b"", "empty.csv: the file is empty"),
        ("header.csv", b"a,clicked\n", "the data has no rows"),
        ("short.csv", b"a,clicked\n1,0\n2\n", "short.csv: "),
        ("cut.parquet", data.read_bytes()[:-100], "cut.parquet: not a Parquet file, or a truncated one"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert message in refused(tmp_path / name, "--target", "clicked", *out)
    late = "a,clicked\n" + "1,0\n" * 20_000 + "x,1\n"
    (tmp_path / "late.csv").write_text(late)
    assert "late.csv" in refused(tmp_path / "late.csv", "--target", "clicked", *out)
    assert not (tmp_path / "run").exists()


def test_only_our_own_value_errors_are_taken_for_bad_input(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise Refused("no\nsuch thing")
    assert capsys.readouterr().err == "error: no such thing\n"
    with pytest.raises(SystemExit), one_line_errors():
        kerasrec.Column("x", "complex")
    with pytest.raises(ValueError, match="invalid literal"), one_line_errors():
        int("x")


def test_an_out_folder_that_exists(data, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    assert "mine exists; choose another --out" in refused(data, "--target", "clicked", "--out", tmp_path / "mine")
    said = refused(data, "--target", "clicked", "--out", tmp_path / "mine", "--overwrite")
    assert "no run of kerasrec train: it is not overwritten" in said
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_export_of_what_is_no_run(tmp_path):
    result = run("export", tmp_path / "none", tmp_path / "served")
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: no folder {tmp_path}/none; kerasrec train writes one\n",
    )
    (tmp_path / "other").mkdir()
    result = run("export", tmp_path / "other", tmp_path / "served")
    assert "it has no workflow and no model.keras" in result.stderr


def test_bad_flags_leave_with_2(data):
    assert run("train", data, "--target", "clicked", "--model", "gpt").exit_code == 2
    assert run("train", data).exit_code == 2
    assert run("train", data, "--target", "clicked", "--epochs", 0).exit_code == 2
    assert run("demo", "--rows", 10).exit_code == 2


# ---- the command itself -------------------------------------------------------------------------------------
def command(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "kerasrec", *args], capture_output=True, text=True)


def test_help_is_quick():
    def seconds() -> float:
        started = time.perf_counter()
        assert "demo" in command("--help").stdout
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1


def test_version_and_no_traceback(tmp_path):
    assert command("--version").stdout == f"kerasrec {kerasrec.__version__}\n"
    done = command("train", str(tmp_path / "none.csv"), "--target", "y")
    assert done.returncode == 1
    assert done.stderr == f"error: no file matches {tmp_path}/none.csv\n"
