"""`kerasrec train` under horovodrun is one training, and ends on all ranks if rank 0 finds something wrong."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec.etl import Workflow

ROWS = 1200


def on_two_ranks(*args: object) -> subprocess.CompletedProcess:
    """Run the good and the bad command one after the other in one launch: a launch takes half a minute."""
    command = [sys.executable, "-m", "horovod.runner.launch", "--gloo", "-np", "2", "-H", "localhost:2"]
    return subprocess.run([*command, sys.executable, *map(str, args)], capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.alone
def test_two_ranks_train_one_model_and_stop_together(tmp_path):
    if find_spec("horovod") is None:
        pytest.skip("Horovod is not installed")
    rng = np.random.default_rng(0)
    user, site = rng.integers(0, 8, ROWS), rng.integers(0, 4, ROWS)
    clicked = (rng.random(ROWS) < np.where(user % 2, 0.8, 0.2)).astype(int)
    pl.DataFrame({"user": [f"u{u}" for u in user], "site_id": site, "clicked": clicked}).write_parquet(
        tmp_path / "x.parquet"
    )
    (tmp_path / "both.py").write_text(
        "import sys\nfrom kerasrec.cli import app\n"
        "data, out = sys.argv[1:]\n"
        "good = ['train', data, '--target', 'clicked', '--out', out, '--epochs', '3']\n"
        "app(good, standalone_mode=False)\n"
        "app(['train', data, '--target', 'click', '--out', out + '2'])\n"
    )
    done = on_two_ranks(tmp_path / "both.py", tmp_path / "x.parquet", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("error: --target: no column 'click'; did you mean 'clicked'?") == 1
    assert "Traceback" not in done.stderr.partition("error: --target")[0]
    assert done.stdout.count("clicked: held-out rows") == 1  # rank 0 alone prints
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["rows"] == {"training": 960, "to stop on": 120, "held out": 120}
    assert results["targets"]["clicked"]["scores"]["auc"] > 0.65
    model, workflow = kr.load_model(tmp_path / "run" / "model.keras"), Workflow.load(tmp_path / "run" / "workflow")
    assert model.schema.features.names == workflow.output_schema.features.names
    assert not (tmp_path / "run2").exists()
