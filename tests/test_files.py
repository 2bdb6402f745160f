"""No file that is not complete stands under its final name."""

import signal
import subprocess
import sys

import pytest

from kerasrec.files import write_aside


def test_file_and_folder_are_replaced_whole(tmp_path):
    for content in ("one", "two"):
        with write_aside(tmp_path / "sub" / "file") as aside:
            aside.write_text(content)
        with write_aside(tmp_path / "folder") as aside:
            aside.mkdir()
            (aside / content).write_text(content)
    assert (tmp_path / "sub" / "file").read_text() == "two"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "sub"]


def test_failure_keeps_what_stood_there(tmp_path):
    (tmp_path / "file").write_text("good")
    with pytest.raises(RuntimeError, match="half way"), write_aside(tmp_path / "file") as aside:
        aside.write_text("bad")
        raise RuntimeError("half way")
    assert (tmp_path / "file").read_text() == "good"
    assert len(list(tmp_path.iterdir())) == 1


def test_existing_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "file").write_text("good")
    with pytest.raises(FileExistsError, match="file exists"), write_aside(tmp_path / "file", overwrite=False):
        raise AssertionError("the block must not run")


def test_kill_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("good")
    script = (
        "import os, signal, sys\n"
        "from kerasrec.files import write_aside\n"
        "with write_aside(sys.argv[1]) as aside:\n"
        "    aside.write_text('bad')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "file")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_text() == "good"
