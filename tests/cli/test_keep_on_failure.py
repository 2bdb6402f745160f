"""A trained model is kept if something goes wrong during or after training."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from kerasrec import etl
from kerasrec.cli import app
from kerasrec.cli.keep_on_failure import keep_on_failure

pytestmark = pytest.mark.alone


def train(folder: Path, epochs: int, do) -> tuple[int, str]:
    """Run `kerasrec train` on a terminal, and `do(process)` once it trains; its exit code and output."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({name: rng.integers(0, 2, 3000) for name in ("user", "site", "clicked")})
    frame.write_parquet(folder / "x.parquet")
    asked = [str(folder / "x.parquet"), "--target", "clicked", "--out", str(folder / "run"), "--model", "dcn"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kerasrec", "train", *asked, "--epochs", str(epochs), "--patience", "100000"],
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    try:
        while True:
            said += os.read(ours, 65536)
            if do is not None and b", held out" in said:
                do(process)
                do = None
    except OSError:  # the other end is closed
        return process.wait(), said.decode(errors="replace")
    finally:
        process.kill()
        os.close(ours)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_trained(tmp_path):
    code, said = train(tmp_path, 100_000, lambda process: process.send_signal(signal.SIGINT))
    assert code not in (0, 1)
    assert f"{tmp_path}/run-unfinished/ contains workflow/ and model.keras as far as it was trained" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-unfinished", "x.parquet"]
    exported = CliRunner().invoke(app, ["export", str(tmp_path / "run-unfinished"), str(tmp_path / "served")])
    assert exported.exit_code == 0, exported.output


@pytest.mark.slow
def test_a_folder_that_appears_meanwhile_is_left_alone_and_so_is_the_run(tmp_path):
    def write(process):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.txt").write_text("years")

    (tmp_path / "run-unfinished").mkdir()
    code, said = train(tmp_path, 20, write)
    assert code == 1
    assert f"{tmp_path}/run-unfinished-2/ contains workflow/ and model.keras" in said
    assert f"error: {tmp_path}/run exists" in said
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in (tmp_path / "run-unfinished-2").iterdir()) == [
        "config.json",
        "model.keras",
        "report",
        "results.json",
        "schema.json",
        "workflow",
    ]


def test_where_it_cannot_be_kept_beside_its_name_it_is_kept_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    etl.Workflow(["x"] >> etl.Normalize()).fit(pl.DataFrame({"x": [1.0, 2.0]})).save(tmp_path / "run" / "workflow")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    out = tmp_path / ("n" * 250)  # which is no name with anything behind it
    with pytest.raises(ZeroDivisionError), keep_on_failure(model, tmp_path / "run", out):
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""  # nothing was trained
    with pytest.raises(ZeroDivisionError), keep_on_failure(model, tmp_path / "run", out):
        model.fit(np.ones((4, 1)), np.ones(4), verbose=0)
        raise ZeroDivisionError
    (kept,) = (tmp_path / "temporary").iterdir()
    assert f"{kept}/ contains workflow/ and model.keras" in capsys.readouterr().err
    again = keras.saving.load_model(kept / "model.keras")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    assert etl.Workflow.load(kept / "workflow").output_schema.names == ["x"]
