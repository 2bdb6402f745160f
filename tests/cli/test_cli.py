"""The command line on small tables, as a user types it."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import kerasrec
from kerasrec.cli import app
from kerasrec.cli.errors import CommandError, one_line_errors

ROWS = 3000
RUN_FILES = ("config.json", "model.keras", "report", "results.json", "schema.json", "workflow")


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
    lines = {line.split()[0]: line for line in said.partition("Operators")[0].splitlines() if line.strip()}
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
    assert sorted(path.name for path in out.iterdir()) == [*RUN_FILES]
    results = json.loads((out / "results.json").read_text())["targets"]["clicked"]
    assert results["task"] == "binary"
    assert results["scores"]["auc"] > 0.68
    assert f"the model    {results['scores']['auc']:.4f}    {results['scores']['logloss']:.4f}" in said
    assert results["baselines"]["base rate"]["auc"] == 0.5
    assert " ".join(results["verdict"].split()) in " ".join(said.split())
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
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["targets"]["user_id"]["task"] == "regression"
    assert results["rows"] == {"training": 1350, "to stop on": 150, "held out": 300}
    assert (tmp_path / "run" / "served" / "saved_model.pb").exists()


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


CASES = {
    "one row": ("a,clicked\n1,0\n", "target 'clicked' is the same in every row, 0"),
    "one class": ("a,clicked\n" + "1,1\n2,1\n" * 50, "target 'clicked' is the same in every row, 1"),
    "three rows": (
        "a,clicked\n" + "1,0\n1,1\n2,0\n",
        "the data has 3 rows, too few to hold some out; pass at least 10",
    ),
    "one class held out": (
        "a,clicked\n1,0\n1,1\n2,1\n" + "1,0\n2,0\n" * 50,
        "target 'clicked' is 0 in all 1",
    ),
    "words": ("a,clicked\n" + "1,yes\n2,no\n" * 50, "is text: it has the values 'no' and 'yes'; pass --positive"),
    "nulls": ("a,clicked\n" + "1,0\n2,1\n3,\n" * 50, "target 'clicked' has nulls (at least 50)"),
    "none": ("a,clicked\n" + "1,\n2,\n" * 50, "target 'clicked'"),
    "no feature": (
        "id,clicked\n" + "".join(f"{i},{i % 2}\n" for i in range(99)),
        "no column is left to predict 'clicked' from; 'id' is left out: numbers the rows",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_data_that_nothing_can_be_learnt_from(name, tmp_path):
    content, message = CASES[name]
    (tmp_path / "x.csv").write_text(content)
    asked = ("--target", "clicked", "--model", "dcn", "--out", tmp_path / "run")
    said = refused(tmp_path / "x.csv", *asked, "--categorical", "a" if "a," in content else "")
    assert message in said
    assert list(tmp_path.iterdir()) == [tmp_path / "x.csv"]


def test_bad_held_out_data_is_told_from_the_other(data, tmp_path):
    clicks(99).drop("price").write_parquet(tmp_path / "less.parquet")
    clicks(99).head(0).write_parquet(tmp_path / "none.parquet")
    clicks(99).with_columns(pl.col("user_id").cast(pl.String)).write_parquet(tmp_path / "other.parquet")
    clicks(99).with_columns(clicked=pl.lit(None, pl.Int64)).write_parquet(tmp_path / "null.parquet")
    clicks(99).with_columns(clicked=pl.lit(1)).write_parquet(tmp_path / "ones.parquet")
    (tmp_path / "cut.parquet").write_bytes(data.read_bytes()[:-100])
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("missing.parquet", "--valid: no file matches"),
        ("folder", "--valid: "),
        ("cut.parquet", "cut.parquet: not a Parquet file"),
        ("less.parquet", "less.parquet: no column 'price'"),
        ("none.parquet", "none.parquet has no rows"),
        ("other.parquet", "other.parquet, row 0: column 'user_id' is String"),
        ("null.parquet", "null.parquet"),
        ("ones.parquet", "target 'clicked' is 1 in all 99 held-out rows"),
    ]:
        said = refused(data, "--target", "clicked", "--out", tmp_path / "run", "--valid", tmp_path / name)
        assert message in said
        assert "--valid" in said
        assert "Frame" not in said
    assert not (tmp_path / "run").exists()


def test_columns_that_differ_in_case_alone_are_trained_and_exported(tmp_path):
    frame = clicks(300).select("user_id", User_Id=pl.col("site"), clicked="clicked")
    frame.write_parquet(tmp_path / "x.parquet")
    asked = (
        tmp_path / "x.parquet",
        "--target",
        "clicked",
        "--model",
        "dcn",
        "--out",
        tmp_path / "run",
        "--export",
    )
    result = run("train", *asked)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted([*RUN_FILES, "served"])


def test_an_export_needs_tensorflow_below_keras(data, tmp_path):
    pytest.importorskip("jax")
    asked = ("train", str(data), "--target", "clicked", "--out", str(tmp_path / "run"), "--export")
    done = command(*asked, KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert done.stderr == "error: --export needs Keras on TensorFlow; got KERAS_BACKEND='jax'\n"


def test_a_backend_that_is_not_there(data, tmp_path):
    if find_spec("jax") is not None:
        pytest.skip("JAX is installed")
    done = command("train", str(data), "--target", "clicked", "--out", str(tmp_path / "run"), KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot import TensorFlow and Keras (No module named 'jax')")
    assert not (tmp_path / "run").exists()


def test_names_of_any_kind(tmp_path):
    """Commas, brackets, blanks and nothing at all: as a line of CSV says them, and as they are on the terminal."""
    rng = np.random.default_rng(0)
    names = ["price, USD", "speed [km/h]", "[/bold]", " ", ""]
    frame = pl.DataFrame({name: rng.integers(0, 5, 400) for name in names} | {"clicked": rng.integers(0, 2, 400)})
    frame.write_parquet(tmp_path / "x.parquet")
    asked = (tmp_path / "x.parquet", "--target", "clicked", "--out", tmp_path / "run")
    said = refused(*asked, "--continuous", '"price, USD", "speed [km/h]"', "--drop", '"[/bold]",",x"')
    assert "--drop: no column ',x'" in said
    listed = run("train", *asked, "--drop", ",".join(f'"{name}"' for name in names)).stderr
    assert "no column is left to predict 'clicked' from; 'price, USD' is left out: set by option" in listed


def test_debug_shows_the_traceback(tmp_path):
    asked = ["train", tmp_path / "none.csv", "--target", "clicked"]
    assert isinstance(run("--debug", *asked).exception, FileNotFoundError)
    assert isinstance(run(*asked).exception, SystemExit)


def test_only_our_own_value_errors_are_taken_for_bad_input(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise CommandError("no\nsuch thing")
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
    assert "was not written by kerasrec train; choose another --out" in said
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_export_of_what_is_no_run(tmp_path):
    result = run("export", tmp_path / "none", tmp_path / "served")
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: there is no folder {tmp_path}/none; pass a folder that kerasrec train wrote\n",
    )
    (tmp_path / "other").mkdir()
    result = run("export", tmp_path / "other", tmp_path / "served")
    assert "it has no workflow and no model.keras" in result.stderr


def test_export_of_a_damaged_run(trained, tmp_path):
    out, _ = trained
    for damaged in ("model.keras", "workflow/workflow.json"):
        shutil.copytree(out, tmp_path / damaged / "run")
        content = (out / damaged).read_bytes()
        (tmp_path / damaged / "run" / damaged).write_bytes(content[: len(content) // 2])
        result = run("export", tmp_path / damaged / "run", tmp_path / "served")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert f"run/{damaged}" in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "served").exists()


def test_bad_flags_leave_with_2(data):
    assert run("train", data).exit_code == 2
    assert "missing; pass the column to predict" in run("train", data).output
    assert (
        "sasrec is trained on pairs or sequences without a target"
        in run("train", data, "--model", "sasrec").output
    )
    neumf = run("train", data, "--target", "clicked", "--model", "neumf")
    assert "neumf reads ids of a user and of an item; name the columns of the item: --set" in neumf.output
    assert run("train", "--target", "clicked").exit_code == 2
    assert run("train", data, "--target", "clicked", "--epochs", 0).exit_code == 2
    assert run("demo", "--rows", 10).exit_code == 2


# ---- the command itself -------------------------------------------------------------------------------------
def command(*args: str, **environment: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "kerasrec", *args]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **environment})


def test_help_imports_nothing_that_takes_long():
    script = (
        "import sys\nfrom kerasrec.cli import app\n"
        "app(['--help'], standalone_mode=False)\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout
    imported = {name.partition(".")[0] for name in done.stderr.split()}
    assert {"kerasrec", "typer"} <= imported
    assert not imported & {"keras", "tensorflow", "polars", "pyarrow", "numpy", "matplotlib", "horovod"}


def test_version_and_no_traceback(tmp_path):
    assert command("--version").stdout == f"kerasrec {kerasrec.__version__}\n"
    done = command("train", str(tmp_path / "none.csv"), "--target", "y")
    assert done.returncode == 1
    assert done.stderr == f"error: no file matches {tmp_path}/none.csv\n"
