"""What killed writers left is removed by the next writer; what others are still writing is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerasrec.files import leftovers, lock, write_aside

KILLED = """
import os, signal, sys
from kerasrec.files import write_aside
with write_aside(sys.argv[1]) as aside:
    aside.mkdir()
    (aside / "half").write_text("bad")
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    print("begun", flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]


def start(path: Path, how: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", KILLED, str(path), how]
    return subprocess.Popen(command, text=True, env=environment, **pipes)  # type: ignore[call-overload]


def write(path: Path) -> None:
    with write_aside(path) as aside:
        aside.write_text("good")


def test_killed_writers_are_cleaned_up_after_and_living_ones_left_alone(tmp_path: Path) -> None:
    with start(tmp_path / "dead", "dies") as dead:
        assert dead.wait(60) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".dead.partial-")
    with start(tmp_path / "living", "waits") as living:
        assert living.stdout is not None
        assert living.stdout.readline() == "begun\n"
        assert not left.exists()  # the next writer beside it removed it
        write(tmp_path / "out")
        assert len(list(tmp_path.glob(".living.partial-*"))) == 1
        living.communicate("")
        assert living.returncode == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["living", "out"]


def test_folders_that_are_not_ours_stay(tmp_path: Path) -> None:
    mine = tmp_path / ".data.partial-20240101"
    mine.mkdir()
    (mine / "data").write_text("mine")
    os.utime(mine, (0, 0))
    write(tmp_path / "out")
    assert (mine / "data").read_text() == "mine"


def test_another_machines_folder_stays_for_a_day(tmp_path: Path) -> None:
    theirs = tmp_path / ".data.partial-abcdefgh"
    theirs.mkdir()
    (theirs / leftovers.LOCK).write_text("process 1 on elsewhere")
    write(tmp_path / "out")
    assert theirs.exists()
    old = time.time() - 100_000
    for each in (theirs / leftovers.LOCK, theirs):
        os.utime(each, (old, old))
    write(tmp_path / "out")
    assert not theirs.exists()


def test_what_was_moved_away_gets_its_name_back(tmp_path: Path) -> None:
    """Killed between two renames, where two names cannot be exchanged."""
    with start(tmp_path / "out", "dies") as dead:
        dead.wait(60)
    (partial,) = tmp_path.iterdir()
    (partial / leftovers.OLD / "out").mkdir(parents=True)
    (partial / leftovers.OLD / "out" / "file").write_text("old")
    write(tmp_path / "beside")
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert not partial.exists()


def test_a_lock_is_one_holders(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with lock(file, "somebody writes"):
        with (
            pytest.raises(FileExistsError, match=f"somebody writes .process {os.getpid()} on "),
            lock(file, "somebody writes"),
        ):
            raise AssertionError("held twice")
        assert file.exists()
    assert not file.exists()
    with lock(file, "busy"):
        pass
