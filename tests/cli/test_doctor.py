import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed"),
]


def doctor(**env):
    command = [sys.executable, "-m", "kerasrec", "doctor"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=200)


def test_two_ranks_answer():
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0.28.1 with Gloo" in done.stdout
    for told in ("[0, 10], as it should be", "3.0, as", "[0, 1, 1], as", "5.0, as"):
        assert told in done.stdout


def test_without_horovod_there_is_one_rank(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['horovod'] = None\n")
    done = doctor(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "Keras",
        "TensorFlow",
        "Horovod is not installed: kerasrec runs as one rank.",
        "python -m kerasrec.parallel.horovod_wheel",
    ):
        assert told in " ".join(done.stdout.split())


def test_failure_is_one_line_and_exit_code_1(tmp_path):
    dies = "import os, signal\nif os.environ.get('HOROVOD_RANK') == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "sitecustomize.py").write_text(dies)
    done = doctor(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: two ranks under horovodrun failed: ")
    assert "137" in done.stderr
