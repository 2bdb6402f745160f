"""`kerasrec train` on odd tables and with each of its options, as a user types them; one process, small data."""

import json
import runpy
import subprocess
import sys

import keras
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import kerasrec as kr
from kerasrec.cli import app
from kerasrec.cli.model_choice import OptimizerChoice, choose_optimizer, default_optimizer
from kerasrec.models.compile_arguments import suit_to_rows

ROWS = 800
TEXT_TABLE = ("--drop", "comment")
FAST = ("--epochs", 1, "--embedding-dim", 4)


def run(*args: object, columns: int = 200):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": str(columns)})


def train(*args: object, columns: int = 200) -> str:
    result = run("train", *args, columns=columns)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*args: object) -> str:
    result = run("train", *args)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def results(out) -> dict:
    return json.loads((out / "results.json").read_text())


def purchases(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """What is bought depends on the user, the hour and the genres; columns are as people write them."""
    rng = np.random.default_rng(seed)
    user, hour = rng.integers(0, 10, rows), rng.integers(0, 24, rows)
    drama = rng.random(rows) < 0.5
    logit = 2.0 * (user % 2) - 2 + 1.5 * (hour > 17) + drama
    bought = rng.random(rows) < 1 / (1 + np.exp(-logit))
    age = rng.integers(18, 80, rows).astype(float)
    age[:8] = -999
    return pl.DataFrame(
        {
            "user id": [f"u{u}" for u in user],
            "when": [f"2024-03-{1 + i * 28 // rows:02d} {h:02d}:30:00" for i, h in enumerate(hour)],
            "größe": rng.normal(size=rows),
            "genres": ["drama|comedy" if d else rng.choice(["action|war", "war", "comedy|war"]) for d in drama],
            "age": age,
            "price": [f"{x:.2f}".replace(".", ",") for x in rng.choice([1.5, 2.25, 9.99], rows)],
            "bought": np.where(bought, "yes", "no"),
            "rating": np.round(3 + logit / 2 + rng.normal(size=rows), 1),
            "importance": rng.choice([1.0, 2.0], rows),
        }
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "purchases.csv"
    purchases().write_csv(path)
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """A run with most of the options."""
    folder = tmp_path_factory.mktemp("runs")
    asked = (table, "--target", "bought", "--positive", "yes", "--drop", "rating", "--sample-weight", "importance")
    more = (
        "--time",
        "when",
        "--seed",
        3,
        "--optimizer",
        "adam",
        "--set",
        "top_units=[32]",
        "--set",
        "dropout=0.1",
    )
    said = train(
        *(*asked, *more, "--epochs", 4, "--embedding-dim", 8, "--out", folder / "run"),
        *("--script", folder / "again.py"),
        columns=80,
    )
    return folder, said


# ---- what is on the screen ----------------------------------------------------------------------------------
def test_everything_said_fits_into_80_columns_and_nothing_is_cut(trained):
    _, said = trained
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    flat = " ".join(said.split())
    for words in (
        "lists of strings, separated by '|'",
        "times written as %Y-%m-%d %H:%M:%S",
        "rows are held out by it",
        "8 outliers (-999: looks like a mark for unknown): clipped",
        "numbers with decimal commas; to use them as numbers, convert the column",
        "weight: set by option",
        "'yes' counts as 1; 'no' counts as 0",
        "Clip(min=18)",
        'SplitString(sep="|", strip=True) >> Categorify(min_count=2)',
        'ParseTime(format="%Y-%m-%d %H:%M:%S")',
        "The figures are on the latest 10% of the rows, which decided nothing; when to stop was decided on those "
        "just before",
        "rows are held out: the figures may be far from those of other rows",
    ):
        for word in words.split():
            assert word in flat, words
    assert "base rate" in said
    assert "biases only" in said


def test_a_piped_table_has_a_line_per_column(table, tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    result = CliRunner().invoke(app, ["train", str(table), "--target", "bought", "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    result = CliRunner().invoke(
        app, ["train", str(table), "--target", "rating", "--set", "units=1", "--out", str(tmp_path / "run")]
    )
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("when")][:1]
    assert line.rstrip().endswith("time: times written as %Y-%m-%d %H:%M:%S")


def test_help_is_grouped_and_fits_into_80_columns():
    said = run("train", "--help", columns=80).output
    assert max(map(len, said.splitlines())) <= 80
    for group in ("Data", "Columns", "Model", "Training", "Output"):
        assert f"─ {group} ─" in said
    assert "[default: 0.1]" in said


# ---- what a run leaves --------------------------------------------------------------------------------------
def test_a_run_is_repeated_to_the_bit_by_its_config(trained):
    folder, _ = trained
    train("--config", folder / "run" / "config.json", "--out", folder / "second")
    first, second = (kr.load_model(folder / name / "model.keras") for name in ("run", "second"))
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (folder / "run" / "config.json").read_text() == (folder / "second" / "config.json").read_text()
    assert results(folder / "run")["targets"] == results(folder / "second")["targets"]


def test_the_script_trains_the_same_model(trained, tmp_path, monkeypatch, capsys):
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(folder / "again.py"))
    figures = results(folder / "run")["targets"]["bought"]["scores"]
    assert f"bought AUC {figures['auc']} log loss {figures['logloss']}" in capsys.readouterr().out
    first, second = kr.load_model(folder / "run" / "model.keras"), kr.load_model("trained/model.keras")
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_targets_have_weights_of_their_own(table, tmp_path):
    """The figures are those of the held-out rows weighed by target: `kerasrec evaluate` finds them again."""
    asked = (
        "--target",
        "bought",
        "--target",
        "rating",
        "--positive",
        "yes",
        "--sample-weight",
        "rating=importance",
    )
    said = train(table, *asked, *FAST, "--out", tmp_path / "run")
    assert 'Target(weight="importance"' in said
    run("evaluate", tmp_path / "run", table, "--out", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())["targets"]
    rows = pl.read_csv(table)
    assert figures["rating"]["observed mean"] == pytest.approx(
        np.average(rows["rating"], weights=rows["importance"])
    )
    assert figures["bought"]["observed mean"] == pytest.approx((rows["bought"] == "yes").mean())
    twice = ("--target", "bought", "--sample-weight", "age", "--sample-weight", "bought=price")
    assert "'bought' has two columns of weights, 'age' and 'price'" in refused(table, *twice)
    assert "'rating' is the target itself" in refused(table, "--target", "rating", "--sample-weight", "rating")


@pytest.mark.parametrize("rows", [100, 1_000_000])
def test_without_an_optimizer_it_is_the_one_that_compile_and_fit_choose(rows):
    model = kr.models.LR(
        kr.Schema([kr.Column("x", "float32", ("continuous",)), kr.Column("y", "int8", ("target", "binary"))])
    )
    model.compile()
    suit_to_rows(model.optimizer, rows)
    chosen = default_optimizer(rows)
    expected, found = (optimizer.get_config() for optimizer in (model.optimizer, chosen(10)))
    assert chosen.learning_rate == pytest.approx(expected.pop("learning_rate"))
    assert found.pop("learning_rate")["config"]["initial_learning_rate"] == chosen.learning_rate
    assert {**found, "name": ""} == {**expected, "name": ""}
    assert eval(f"kr.optimizers.{chosen.written('0.1')}").get_config()["dense_factor"] == expected["dense_factor"]
    assert choose_optimizer(None, None) is None
    assert choose_optimizer(None, 0.5) == OptimizerChoice(kr.optimizers.Adagrad, 0.5)


def test_options_of_the_command_line_replace_those_of_the_config(trained):
    folder, _ = trained
    config = json.loads((folder / "run" / "config.json").read_text())
    assert (config["optimizer"], config["seed"]) == ("adam", 3)
    assert config["learning_rate"] == pytest.approx(float(kr.optimizers.Adam().learning_rate))
    assert config["columns"]["age"]["steps"][1] == ["Clip", {"min": 18}]
    config["columns"]["größe"] = {"role": "dropped", "steps": []}
    config["columns"]["age"]["steps"][1] = ["Clip", {"min": 18, "max": 70}]
    (folder / "edited.json").write_text(json.dumps(config))
    said = train("--config", folder / "edited.json", "--out", folder / "third", "--epochs", 1, "--drop", "genres")
    assert "dropped: by the config file" in said
    assert "Clip(min=18, max=70)" in said
    features = kr.load_model(folder / "third" / "model.keras").schema.features.names
    assert set(features) == {"user id", "when_hour", "when_weekday", "age", "price"}
    assert results(folder / "third")["trained_rows"] <= 0.8 * ROWS + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'?"),
        ({"epochs": 0}, "epochs must be >= 1; got 0"),
        ({"epochs": "3"}, "epochs must be int; got '3'"),
        ({"target": [1]}, "target must be a list of strings; got [1]"),
        ({"task": "ranking"}, "task must be binary or regression; got 'ranking'"),
        ({"out": "x"}, "'out' belongs on the command line, as --out"),
        ({"columns": {"age": {"role": "category", "steps": []}}}, "role must be one of categorical, continuous"),
        ({"columns": {"age": {"role": "continuous", "steps": []}}}, "'continuous' needs steps"),
        (
            {"columns": {"age": {"role": "continuous", "steps": [["Clap", {}]]}}},
            "no operator 'Clap'; did you mean",
        ),
        (
            {"columns": {"age": {"role": "continuous", "steps": [["Clip", {}]]}}},
            "Clip takes a min, a max, or both",
        ),
        ({"columns": {"agee": {"role": "dropped", "steps": []}}}, "no column 'agee'; did you mean 'age'?"),
    ],
)
def test_a_config_that_is_wrong_is_refused(change, message, table, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"data": str(table), "target": "rating", **change}))
    assert message in refused("--config", tmp_path / "config.json", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_config_that_is_no_file_or_no_json_is_refused(tmp_path):
    assert "there is no such file" in refused("--config", tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    assert "not readable as JSON" in refused("--config", tmp_path / "bad.json")


# ---- one option after the other -----------------------------------------------------------------------------
def test_several_targets_have_figures_and_baselines_each(table, tmp_path):
    said = train(
        table, "--target", "bought", "--target", "rating", "--positive", "yes", "--drop", "when", *FAST,
        "--out", tmp_path / "run", "--script", tmp_path / "both.py",
    )  # fmt: skip
    found = results(tmp_path / "run")["targets"]
    assert {name: list(target["scores"]) for name, target in found.items()} == {
        "bought": ["auc", "logloss"],
        "rating": ["rmse"],
    }
    assert all(set(target["baselines"]) == {"base rate", "biases only"} for target in found.values())
    assert "bought: held-out rows" in said
    assert "rating: held-out rows" in said
    assert set(kr.load_model(tmp_path / "run" / "model.keras").targets) == {"bought", "rating"}
    assert 'predictions["bought"]' in (tmp_path / "both.py").read_text()


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    frame = purchases(600).with_columns(rating=pl.when(pl.int_range(pl.len()) % 5 > 0).then("rating"))
    frame.write_parquet(tmp_path / "x.parquet")
    asked = (tmp_path / "x.parquet", "--target", "rating", "--out", tmp_path / "run", *FAST)
    assert "has nulls (at least 120); pass --drop-null-targets" in refused(*asked)
    assert "120 rows are left out, in which 'rating' is null" in train(*asked, "--drop-null-targets")
    rows = results(tmp_path / "run")["rows"]
    assert rows["left out: null target"] == 120
    assert rows["training"] + rows["to stop on"] + rows["held out"] == 480


def test_without_early_stopping_all_epochs_are_trained_on_more_rows(table, tmp_path):
    said = train(table, "--target", "rating", "--patience", 0, *FAST, "--epochs", 2, "--out", tmp_path / "run")
    rows = results(tmp_path / "run")["rows"]
    assert set(rows) == {"training", "held out"}
    assert results(tmp_path / "run")["trained_rows"] == 2 * rows["training"]
    assert "without early stopping (--patience 0)" in said


def test_the_best_weights_are_kept(tmp_path):
    """Ids that say nothing are learnt by heart: the weights that are kept are those before that."""
    rng = np.random.default_rng(0)
    ids = {f"id_{i}": [f"v{v}" for v in rng.integers(0, 300, 1500)] for i in range(4)}
    pl.DataFrame({**ids, "clicked": rng.integers(0, 2, 1500)}).write_parquet(tmp_path / "x.parquet")
    said = train(tmp_path / "x.parquet", "--target", "clicked", "--epochs", 20, "--out", tmp_path / "run")
    found = results(tmp_path / "run")
    assert found["stopped_early"]
    assert found["kept_after_rows"] < found["trained_rows"] < 20 * found["rows"]["training"]
    checks = found["targets"]["clicked"]["checks"]
    best = min(checks, key=lambda check: check["logloss"])
    assert best["rows"] == found["kept_after_rows"]
    assert found["targets"]["clicked"]["better_than_baselines"] is not True
    assert "may be chance" in said or "worse than" in said
    assert "Try" in said or "Hold out more rows" in said


def test_a_model_of_ones_own_and_arguments_of_models(table, tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(
        "import keras\nimport kerasrec as kr\n\n\n"
        "class Unregistered(kr.models.DCN):\n    pass\n\n\n"
        "@keras.saving.register_keras_serializable('own')\n"
        "class Narrow(kr.models.DCN):\n"
        "    def __init__(self, schema, embedding_dim=4, depth=1, **kwargs):\n"
        "        kwargs['deep_units'] = [8] * depth\n"
        "        super().__init__(schema, embedding_dim=embedding_dim, **kwargs)\n"
        "        self.depth = depth\n"
        "    def get_config(self):\n"
        "        return super().get_config() | {'depth': self.depth}\n\n\n"
        "@keras.saving.register_keras_serializable('own')\n"
        "class Forgetful(kr.models.SchemaModel):\n"
        "    def __init__(self, schema, width, **kwargs):\n"
        "        super().__init__(schema, **kwargs)\n"
    )
    monkeypatch.chdir(tmp_path)
    asked = (table, "--target", "rating", "--out", tmp_path / "run", *FAST)
    train(*asked, "--model", "own_model:Narrow", "--set", "depth=2", "--script", tmp_path / "own.py")
    assert "from own_model import Narrow" in (tmp_path / "own.py").read_text()
    assert "Narrow(train.schema, embedding_dim=4, depth=2)" in (tmp_path / "own.py").read_text()
    predict = ("predict", tmp_path / "run", table, "--out", tmp_path / "predictions.parquet")
    code = "import sys; from kerasrec.cli import app; app(sys.argv[1:])"  # a process that imported no own_model
    for trust, code_expected in (((), 1), (("--trust", "own_model"), 0)):
        command = [sys.executable, "-c", code, *map(str, predict), *trust]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code_expected, done.stderr
        if code_expected:
            assert "class 'Narrow' is defined in module 'own_model', which has not been imported" in done.stderr
            assert "--trust own_model" in done.stderr
    again = (*asked[:3], "--out", tmp_path / "other")
    assert "decorate class Unregistered with @keras.saving.register_keras_serializable()" in refused(
        *again, "--model", "own_model:Unregistered"
    )
    assert "Forgetful.from_config(model.get_config()) raises TypeError" in refused(
        *again, "--model", "own_model:Forgetful", "--set", "width=3"
    )
    assert "no argument 'dept'; did you mean 'depth'?" in refused(
        *again, "--model", "own_model:Narrow", "--set", "dept=1"
    )
    assert "cannot import own_model:Wide" in refused(*again, "--model", "own_model:Wide")
    assert "json:JSONDecoder must derive from one of kr.models" in refused(*again, "--model", "json:JSONDecoder")
    assert "no model 'gpt'" in refused(*again, "--model", "gpt")
    assert "did you mean 'deepfm'?" in refused(*again, "--model", "deep_fn")
    assert "expected key=value" in refused(*again, "--set", "dropout")
    assert "pass --embedding-dim instead" in refused(*again, "--set", "embedding_dim=3")
    assert "no optimizer 'adagard'; did you mean 'adagrad'?" in refused(*again, "--optimizer", "adagard")
    assert "bottom_units must end in embedding_dim" in refused(*again, "--set", "bottom_units=[3]")


def test_a_history_is_compared_with_the_item_that_shares_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lists = ["|".join(f"i{item}" for item in rng.integers(0, 9, rng.integers(0, 5))) for _ in range(ROWS)]
    items = [f"i{item}" for item in rng.integers(0, 9, ROWS)]
    clicked = [int(item in past.split("|")) for item, past in zip(items, lists, strict=True)]
    pl.DataFrame({"the item": items, "its, past": lists, "y": clicked}).write_csv("history.csv")
    asked = ("history.csv", "--target", "y", "--model", "din", *FAST)
    shared = 'items=the item,"its, past"'
    train(*asked, "--table", shared, "--out", "run", "--script", "own.py")
    tables = {
        column["name"]: column.get("table")
        for column in kr.load_model("run/model.keras").schema.to_dict()["columns"]
    }
    assert tables["the item"] == tables["its, past"] == "items"
    figures = results(tmp_path / "run")["targets"]["y"]["scores"]
    runpy.run_path("own.py")
    assert f"y AUC {figures['auc']} log loss {figures['logloss']}" in capsys.readouterr().out
    for table, message in (
        ("items=the item", "pass NAME=COLUMN,COLUMN"),
        ("items=the item,past", "--table items: no column 'past'"),
        ("items=the item,y", "column 'y' is target here"),
        ("items=the item,the item,y", "column 'the item' is there twice"),
    ):
        assert message in refused(*asked, "--table", table, "--out", "other")
    message = refused(*asked, "--out", "other")
    assert "DIN needs a history" in message
    assert "--table NAME=COLUMN,LIST" in message


def test_targets_of_two_values_are_named_with_the_remedy(table, tmp_path):
    out = ("--out", tmp_path / "run")
    said = refused(table, "--target", "bought", *out)
    assert "it has the values 'no' and 'yes'; pass --positive with the value that counts as 1" in said
    assert "no target has the value 'Yes': 'bought' has the values 'no' and 'yes'" in refused(
        table, "--target", "bought", "--positive", "Yes", *out
    )
    assert "is 1.0 or 2.0; pass --positive 2.0" in refused(table, "--target", "importance", *out)
    said = train(table, "--target", "importance", "--positive", 2, *FAST, *out)
    assert "2 counts as 1; 1.0 counts as 0" in said


def test_a_column_with_the_option_of_another_type_is_refused(table, tmp_path):
    out = ("--out", tmp_path / "run")
    assert "--time: column 'user id' is String" in refused(table, "--target", "rating", "--time", "user id", *out)
    assert "--time: no column 'wehn'; did you mean 'when'?" in refused(
        table, "--target", "rating", "--time", "wehn", *out
    )
    assert "--time: 'rating' is the target" in refused(table, "--target", "rating", "--time", "rating", *out)
    assert "--sample-weight: 'genres' is String; expected one number" in refused(
        table, "--target", "rating", "--sample-weight", "genres", *out
    )
    assert "down to -999" in refused(table, "--target", "rating", "--sample-weight", "age", *out)
    assert "--continuous: 'price' is String, numbers with decimal commas" in refused(
        table, "--target", "rating", "--continuous", "price", *out
    )
    assert "'rating' is given twice" in refused(table, "--target", "rating", "--target", "rating", *out)


# ---- tables as people have them -------------------------------------------------------------------------------
MESSY = {
    "semicolons, a byte order mark and quotes": (
        lambda i: f'"user, {i % 7}";{i % 5},5;{i % 3 + i % 7}\n',
        '\ufeff"name";"größe";y\n',
    ),
    "marks of null": (
        lambda i: f"u{i % 7},{['NA', 'null', '', i % 90][i % 4]},{i % 3 + i % 7}\n",
        "name,age,y\n",
    ),
    "mixed types": (lambda i: f"u{i % 7},{'x' if i % 50 == 0 else i % 40},{i % 7}\n", "name,code,y\n"),
    "repeated rows and constant columns": (lambda i: f"u{i % 7},1,,{i % 7}\n", "name,one,none,y\n"),
    "windows line ends and a name with a dot": (lambda i: f"u{i % 7},{i % 11},{i % 7}\r\n", "a.b,^x$,y\r\n"),
}


@pytest.mark.parametrize("name", MESSY)
def test_messy_csv_files_are_trained_on(name, tmp_path):
    line, header = MESSY[name]
    (tmp_path / "x.csv").write_text(header + "".join(map(line, range(300))), encoding="utf-8", newline="")
    said = train(tmp_path / "x.csv", "--target", "y", *FAST, "--out", tmp_path / "run")
    assert "300 rows" in said
    assert results(tmp_path / "run")["rows"]["training"] == 240


def test_folders_globs_and_partitions(tmp_path):
    for i, day in enumerate(["a", "b", "c"]):
        (tmp_path / "days" / f"day={day}").mkdir(parents=True)
        purchases(200, seed=i).drop("bought").write_parquet(tmp_path / "days" / f"day={day}" / "x.parquet")
    said = train(tmp_path / "days", "--target", "rating", *FAST, "--out", tmp_path / "run")
    assert "600 rows, 9 columns" in said
    assert "day" in kr.load_model(tmp_path / "run" / "model.keras").schema.features.names
    said = train(f"{tmp_path}/days/day=*/*.parquet", "--target", "rating", *FAST, "--out", tmp_path / "other")
    assert "600 rows" in said


def test_ten_rows_get_a_clear_answer(tmp_path):
    (tmp_path / "x.csv").write_text("user,y\n" + "".join(f"u{i % 3},{i % 2}\n" for i in range(10)))
    said = refused(tmp_path / "x.csv", "--target", "y", "--out", tmp_path / "run")
    assert "pass more data" in said
    (tmp_path / "x.csv").write_text("user,y\n" + "".join(f"u{i % 3},{i / 7}\n" for i in range(10)))
    assert "Only 1 rows are held out" in train(
        tmp_path / "x.csv", "--target", "y", *FAST, "--out", tmp_path / "run"
    )


def test_unix_times_are_features_and_hold_out_the_latest_rows(tmp_path):
    frame = purchases(400).select("user id", "rating", when=1_700_000_000 + 3600 * pl.int_range(pl.len()))
    frame.sample(fraction=1.0, shuffle=True, seed=0).write_parquet(tmp_path / "x.parquet")
    train(tmp_path / "x.parquet", "--target", "rating", "--time", "when", *FAST, "--out", tmp_path / "run")
    schema = kr.load_model(tmp_path / "run" / "model.keras").schema
    assert schema.features.names == ["user id", "when_hour", "when_weekday"]
    assert "SplitByTime" not in (tmp_path / "run" / "config.json").read_text()
    keras.utils.clear_session()
