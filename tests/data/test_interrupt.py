"""Ctrl-C: a real signal to a real process, in a loop, in `fit`, and where a server does not answer."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest
from loader_data import make_table, write
from range_server import serve

pytestmark = pytest.mark.alone

LIMIT = 200  # seconds, to tell a process that hangs from a busy machine


@contextmanager
def running(*arguments):
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("interrupted.py"), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = Timer(LIMIT, process.kill)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


def until(process, said):
    """The rest of the next line that begins so."""
    for line in process.stdout:
        if line.startswith(said):
            return line.removeprefix(said).strip()
    raise AssertionError(f"it never said {said!r}: {process.stderr.read()}")


def interrupt(process):
    process.send_signal(signal.SIGINT)


def assert_ends_by_it(process):
    output, errors = process.communicate()
    assert process.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors
    assert "got what never comes" not in output


def test_ctrl_c_ends_a_pass_and_the_process(tmp_path):
    folder = write(tmp_path / "data", make_table(1000), files=3)
    with running(folder, "loop", "fit", "fit") as process:
        for _ in ("loop", "fit"):
            until(process, "busy")
            interrupt(process)
            until(process, "interrupted")
            assert until(process, "left") == "[]"  # of the threads
        until(process, "busy")
        interrupt(process)
        assert_ends_by_it(process)


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_server(tmp_path):
    folder = write(tmp_path / "data", make_table(1000), files=3)
    with serve(tmp_path) as server, running(f"{server.url}/{folder.name}/", *["wait_for_a_server"] * 2) as process:
        for again in (False, True):
            server.late = 0
            until(process, "made")
            server.late, asked = 10 * LIMIT, server.asked
            process.stdin.write("\n")
            process.stdin.flush()
            until(process, "busy")
            while server.asked == asked:
                assert process.poll() is None
                time.sleep(0.01)
            interrupt(process)
            if again:
                assert_ends_by_it(process)
            else:
                until(process, "interrupted")
