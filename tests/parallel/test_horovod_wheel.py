import hashlib
import io
import os
import subprocess
import sys
import tarfile

import pytest

from kerasrec.parallel import horovod_wheel


def test_no_compiler_is_one_clear_line(tmp_path):
    environment = {**os.environ, "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("CXX", None)
    command = [sys.executable, "-m", "kerasrec.parallel.horovod_wheel"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no C++ compiler (g++)")
    assert done.stderr.count("\n") == 1


def test_a_source_of_another_hash_is_refused_before_it_runs(tmp_path):
    """pip runs setup.py to learn a source's version; here it would leave a trace."""
    ran, index, work = tmp_path / "ran", tmp_path / "index", tmp_path / "work"
    index.mkdir()
    work.mkdir()
    name = f"horovod-{horovod_wheel.VERSION}"
    files = {
        "setup.py": f"from setuptools import setup\nopen({str(ran)!r}, 'w').close()\nsetup(name='horovod')\n",
        "PKG-INFO": "Metadata-Version: 2.1\nName: horovod\nVersion: 0.28.1\n",
    }
    with tarfile.open(index / f"{name}.tar.gz", "w:gz") as tar:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    with pytest.raises(OSError, match="DO NOT MATCH THE HASHES"):
        horovod_wheel._fetch(work, environment)
    assert not ran.exists()
    with pytest.raises(OSError, match="is not the published file"):
        horovod_wheel._unpack(index / f"{name}.tar.gz", work)


def test_a_kept_wheel_is_used_only_as_it_was_built(tmp_path):
    wheel, said = tmp_path / "horovod-0.28.1-cp311-linux.whl", tmp_path / horovod_wheel.DIGEST
    assert horovod_wheel._kept(tmp_path) is None
    wheel.write_bytes(b"a wheel")
    assert horovod_wheel._kept(tmp_path) is None  # of which nobody wrote down the hash
    said.write_text(hashlib.sha256(b"a wheel").hexdigest() + "\n")
    assert horovod_wheel._kept(tmp_path) == wheel
    wheel.chmod(0o666)
    assert horovod_wheel._kept(tmp_path) is None
    wheel.chmod(0o600)
    wheel.write_bytes(b"another")
    assert horovod_wheel._kept(tmp_path) is None
