"""`kerasrec plan` on the schema of features that a workflow wrote."""

import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from kerasrec import etl
from kerasrec.cli import app


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    rng, rows = np.random.default_rng(0), 5000
    raw = pl.DataFrame(
        {
            "author": rng.integers(0, 300, rows) ** 2,
            "reader": rng.integers(0, 300, rows) ** 2,
            "tags": [rng.integers(0, 40, rng.integers(0, 9)).tolist() for _ in range(rows)],
            "price": rng.random(rows),
        }
    )
    people = ["author", "reader"] >> etl.Categorify(table="user")
    workflow = etl.Workflow(people + (["tags"] >> etl.Categorify()) + (["price"] >> etl.Normalize()))
    folder = tmp_path_factory.mktemp("plan") / "features"
    workflow.fit(raw).transform(raw).to_parquet(folder)
    return folder


def test_a_plan_of_a_schema(features):
    asked = ("--ranks", 4, "--memory", "1GiB", "--batch-size", 512, "--embedding-dim", 32)
    result = run("plan", features / "schema.json", *asked, "--optimizer", "rowwise_adagrad")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("2 tables over 4 ranks: ")
    assert [line.split()[0] for line in lines[3:8]] == ["0", "1", "2", "3", "mean"]
    found = re.search(
        r"worst over mean: memory ([\d.]+), bytes sent ([\d.]+), time [\d.]+; limit 1 GiB", result.output
    )
    assert all(1 <= float(each) < 1.5 for each in found.groups())
    assert any(line.startswith("user") and "303" in line and " 32 " in line for line in lines)
    assert (
        "For 512 rows per rank and step, rowwise_adagrad, 25GB per second, vectors sent as float32."
        in result.output
    )
    assert "power law" not in result.output  # the schema knows how often ids were seen
    assert run("plan", features, *asked, "--optimizer", "rowwise_adagrad").output == result.output


def test_many_ranks(features):
    """On a laptop for a cluster; of many ranks the extremes alone are shown."""
    result = run("plan", features / "schema.json", "--ranks", 128, "--memory", "80GiB", "--embedding-dim", 64)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("2 tables over 128 ranks: ")
    assert all(f"{word}: " in result.output for word in ("slowest", "quickest", "fullest", "emptiest"))
    assert "limit 80 GiB per rank" in result.output


def test_the_fewest_ranks(features):
    result = run("plan", features, "--batch-size", 8, "--embedding-dim", 512, "--memory", "1MiB")
    assert result.exit_code == 0, result.output
    held = 2 * 4 * 512 * (303 + 43)  # two tables and Adagrad's state
    assert result.output.startswith(f"2 tables over {-(-held // 2**20)} ranks")


def test_what_does_not_fit_is_said_in_one_line(features):
    result = run("plan", features, "--ranks", 1, "--memory", "100KB", "--batch-size", 8)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 2 tables do not fit 1 x 97.7 KiB: the fullest rank, 0, needs ")
    assert re.search(
        r"needs [\d.,]+ KiB \(tables [\d.,]+ KiB, .* KiB over its limit; all ranks together", result.stderr
    )
    assert "What helps: at least" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--memory", "lots"), "got 'lots'"),
        (("--optimizer", "lion", "--ranks", 2), "optimizer 'lion'"),
        (("--wire-dtype", "int4"), "wire_dtype must be one of"),
    ],
)
def test_bad_options(features, options, message):
    result = run("plan", features, *options)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_schema_without_tables(tmp_path):
    (tmp_path / "schema.json").write_text('{"kerasrec_schema": 1, "columns": []}')
    assert "no categorical columns" in run("plan", tmp_path).stderr
    assert "no schema at" in run("plan", tmp_path / "none").stderr


def test_it_imports_no_framework(features):
    script = (
        "import sys; from typer.testing import CliRunner; from kerasrec.cli import app\n"
        f"assert CliRunner().invoke(app, ['plan', {str(features)!r}, '--batch-size', '8']).exit_code == 0\n"
        "assert not {'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
