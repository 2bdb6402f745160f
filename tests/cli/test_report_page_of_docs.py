"""The commands that docs/report.md begins with, run one after another as they are written."""

import json
import shlex
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import kerasrec as kr
from kerasrec.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.mark.slow
def test_the_task_of_the_page_works_and_the_report_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kr.datasets.clicks(20_000).write_parquet("clicks.parquet")
    kr.datasets.clicks(5_000, seed=1).write_parquet("new.parquet")
    block = PAGE.read_text(encoding="utf-8").split("```bash\n")[1].split("```")[0]
    commands = [shlex.split(line)[1:] for line in block.splitlines() if line.startswith("kerasrec ")]
    assert [command[0] for command in commands] == ["train", "evaluate", "predict", "plan", "models"]
    for command in commands:
        result = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
        assert result.exit_code == 0, (command, result.output)
    assert "Calibration" in Path("run/report/index.html").read_text(encoding="utf-8")
    assert pl.read_csv("predictions.csv").columns == ["user", "item", "prediction"]
    figures = json.loads(Path("figures.json").read_text())
    shown = json.loads(PAGE.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0])
    assert figures["targets"]["clicked"].keys() == shown["targets"]["clicked"].keys()
    assert figures["rows"] == shown["rows"]
