import os
import subprocess
import sys


def test_no_compiler_is_one_clear_line(tmp_path):
    environment = {**os.environ, "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("CXX", None)
    command = [sys.executable, "-m", "kerasrec.parallel.horovod_wheel"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no C++ compiler (g++)")
    assert done.stderr.count("\n") == 1
