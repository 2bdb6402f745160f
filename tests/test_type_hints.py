"""A user's script type-checks: the package ships its annotations, and README's code passes `mypy --strict`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Keras and TensorFlow ship no annotations, so a strict user says so once in his configuration.
CONFIG = (
    "[mypy]\nstrict = True\nfollow_imports = silent\n[mypy-keras.*,tensorflow.*]\nignore_missing_imports = True\n"
)
REVEALED = {
    'kr.Loader("train/", batch_size=32)': "kerasrec.data.loader.Loader",
    'kr.TableConfig("item", 10, 4)': "kerasrec.tables.config.TableConfig",
    '["user"] >> etl.Categorify()': "kerasrec.etl.operator.operator.Node",
    'etl.Workflow(["user"] >> etl.Categorify())': "kerasrec.etl.workflow.Workflow",
    "kr.optimizers.Adagrad()": "kerasrec.optimizers.adagrad.Adagrad",
    "kr.layers.MLP([8])": "kerasrec.layers.mlp.MLP",
    "kr.models.DLRM(schema)": "kerasrec.models.ranking.dlrm.DLRM",
    "kr.parallel.size()": "int",
    'kr.Schema.load("train/")': "kerasrec.schema.Schema",
}


@pytest.mark.slow
def test_a_script_of_readmes_code_passes_strict_mypy(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    runnable = [block for block in blocks if "..." not in block]
    assert len(runnable) >= 3
    reveal = [f"reveal_type({expression})" for expression in REVEALED]
    script = ["import tensorflow as tf", *runnable, "schema = kr.Schema([])", *reveal]
    (tmp_path / "script.py").write_text("\n".join(script), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "script.py"]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    # Public names, which are imported when they are first used, have types of their own: none of them is `Any`.
    assert re.findall(r'Revealed type is "(.*)"', done.stdout) == list(REVEALED.values())


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "kerasrec" / "py.typed").is_file()
