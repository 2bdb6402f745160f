"""The README's code runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

README = Path(__file__).parent.parent / "README.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def raw(rows, seed):
    """Clicks with the columns of the pipeline, nulls and empty lists among them."""
    rng = np.random.default_rng(seed)
    age = [None if x < 18 else float(x) for x in rng.integers(15, 80, rows)]
    genres = [[f"g{k}" for k in rng.integers(0, 5, n)] for n in rng.integers(0, 4, rows)]
    users, items = ([f"{kind}{k}" for k in rng.zipf(1.5, rows) % 200] for kind in "ui")
    return pl.DataFrame(
        {"user": users, "item": items, "genres": genres, "age": age, "clicked": rng.integers(0, 2, rows)}
    )


@pytest.mark.slow
def test_every_block_runs_without_a_warning(tmp_path):
    for name, seed in {"raw": 0, "raw_valid": 1}.items():
        (tmp_path / name).mkdir()
        raw(3000, seed).write_parquet(tmp_path / name / "part.parquet")
    two_minutes, parts, failing, own_model, _ = blocks()
    strict = "import warnings\nwarnings.simplefilter('error', UserWarning)\n"
    served = (
        "import tensorflow as tf\n"
        'served = tf.saved_model.load("served/").signatures["serving_default"]\n'
        'rows = [{"user": "u1", "item": "never seen", "genres": [], "age": None}]\n'
        '(click,) = served(**kr.serving.rows(rows, workflow))["clicked"].numpy()\n'
        "print(0 < click[0] < 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([strict, two_minutes, parts, failing, served, own_model])],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "True\n" in done.stdout
    assert (tmp_path / "train" / "schema.json").exists()
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 1


def test_every_link_leads_somewhere():
    text = README.read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link}
    assert len(links) > 20
    assert [link for link in links if not (README.parent / link).exists()] == []
