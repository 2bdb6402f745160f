"""What is missing is named with the command that installs it."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from kerasrec.cli.missing import Installation, missing

COMPLETE = Installation(gpus=1, nvidia_driver=True, modules=frozenset({"cudf", "distributed", "fsspec"}))


def test_nothing_is_missing_from_a_complete_installation():
    assert list(missing(COMPLETE)) == []


@pytest.mark.parametrize(
    ("changes", "said", "command"),
    [
        (
            {"tensorflow": "No module named 'tensorflow'"},
            "TensorFlow cannot be imported",
            'pip install "kerasrec[gpu]"',
        ),
        ({"backend": "jax"}, "Keras runs on jax", "unset KERAS_BACKEND"),
        ({"gpus": 0}, "TensorFlow sees no GPU", 'pip install "kerasrec[gpu]"'),
        ({"compiler": False, "kernels": False}, "There is no C++ compiler", "apt-get install g++"),
        ({"kernels": False}, "The compiled operations are not loaded", "unset KERASREC_KERNELS"),
        ({"horovod": "not installed"}, "one rank", "python -m kerasrec.parallel.horovod_wheel"),
        ({"modules": frozenset({"cudf", "fsspec"})}, "Dask", 'pip install "kerasrec[dask]"'),
        ({"modules": frozenset({"cudf", "distributed"})}, "s3://", 'pip install "kerasrec[remote]"'),
        (
            {"modules": frozenset({"fsspec", "distributed"})},
            "NVIDIA GPU that is here",
            'pip install "kerasrec[gpu]"',
        ),
    ],
)
def test_what_is_missing_comes_with_its_command(changes, said, command):
    (found,) = missing(replace(COMPLETE, **changes))
    assert said in found.what
    assert found.command.startswith(command)
    assert found.required == ("tensorflow" in changes)


def test_the_extras_that_are_named_exist():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    commands = [item.command for item in missing(Installation(tensorflow="x", horovod="y", compiler=False))]
    commands += [item.command for item in missing(Installation(tensorflow="x", nvidia_driver=True))]
    extras = {command.split("[")[1].split("]")[0] for command in commands if "[" in command}
    assert {"cpu", "gpu", "dask", "remote"} == extras
    assert extras <= project["optional-dependencies"].keys()


def test_without_tensorflow_the_doctor_says_how_to_get_it(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "kerasrec", "doctor"]
    env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert 'Run: pip install "kerasrec[cpu]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert "Polars" in done.stdout
