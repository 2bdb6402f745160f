"""`kerasrec run`: which scripts are started again, which are not, and what is passed on to them."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parent.parent.parent
# A script that needs no framework: it says what it was given, and does one thing a start.
SCRIPT = """
import json, os, signal, sys, time
folder, todo = sys.argv[1], sys.argv[2].split(",")
starts = len([name for name in os.listdir(folder) if name.startswith("start-")])
open(f"{folder}/start-{starts}", "w").close()
print("given", sys.argv[3:], flush=True)
for each in todo[min(starts, len(todo) - 1)].split("+"):
    if each.isdigit():
        print(f"rank {os.environ.get('HOROVOD_RANK')} of 2: ValueError: it is broken", file=sys.stderr, flush=True)
        sys.exit(int(each))
    elif each.startswith("step"):
        with open(os.environ["KERASREC_RUN_STATUS"], "w") as file:
            json.dump({"folder": "checkpoints", "step": int(each[4:])}, file)
    elif each == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif each == "wait":
        signal.signal(signal.SIGTERM, lambda *_: (print("asked to stop", flush=True), sys.exit(5)))
        print("waiting", flush=True)
        time.sleep(60)
    elif each == "others" and os.environ.get("HOROVOD_RANK") == "0":
        time.sleep(60)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    (tmp_path / "starts").mkdir()
    return path


def start(script, todo, *options, given=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "kerasrec", "run", *options, str(script), str(script.parent / "starts"), todo]
    return subprocess.Popen(
        [*command, *given], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*arguments, **more):
    job = start(*arguments, **more)
    out, errors = job.communicate(timeout=60)
    return job.returncode, out, [line for line in errors.splitlines() if line.startswith("kerasrec run: ")]


def test_a_script_that_ends_well_is_run_once(script):
    code, out, said = run(script, "0", given=["-np", "3", "--restarts", "x"])
    assert (code, out, said) == (0, "given ['-np', '3', '--restarts', 'x']\n", [])


def test_an_error_before_the_first_checkpoint_is_the_users(script):
    code, out, said = run(script, "3")
    assert (code, out.count("given")) == (3, 1)
    assert said == [
        "kerasrec run: the script ended with status 3 before its first checkpoint (kr.callbacks.Checkpoint); "
        "it is not restarted"
    ]


def test_it_gives_up_without_progress(script):
    code, out, said = run(script, "step10+1,kill,step20+7,step20+7,step20+7", "--restarts", "2")
    assert (code, out.count("given")) == (7, 5)
    assert said == [
        "kerasrec run: the script ended with status 1; restart 1 of 2, from batch 10, the latest in checkpoints",
        "kerasrec run: the script was ended by SIGKILL; restart 2 of 2, from batch 10, the latest in checkpoints",
        "kerasrec run: the script ended with status 7; restart 1 of 2, from batch 20, the latest in checkpoints",
        "kerasrec run: the script ended with status 7; restart 2 of 2, from batch 20, the latest in checkpoints",
        "kerasrec run: the script ended with status 7; giving up after 2 restarts without a new checkpoint",
    ]


def test_a_script_that_is_killed_starts_again(script):
    code, out, said = run(script, "kill,0")
    assert (code, out.count("given")) == (0, 2)
    assert said == ["kerasrec run: the script was ended by SIGKILL; restart 1 of 3, from the beginning"]


def test_no_restarts(script):
    code, out, said = run(script, "step5+4", "--restarts", "0")
    assert (code, out.count("given")) == (4, 1)
    assert said == ["kerasrec run: the script ended with status 4; giving up"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(script, number):
    job = start(script, "wait")
    assert [job.stdout.readline() for _ in range(2)][1] == "waiting\n"
    job.send_signal(number)
    out, errors = job.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert (job.returncode, out) == (5, "asked to stop\n")
    else:
        assert job.returncode == 1 or job.returncode == 130
        assert "KeyboardInterrupt" in errors
    assert "restart" not in errors


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_nothing_outlives_it(script):
    job = start(script, "wait")
    assert [job.stdout.readline() for _ in range(2)][1] == "waiting\n"
    job.kill()
    assert job.stdout.read() == "asked to stop\n"  # the pipe ends when the script has
    job.wait()


def test_a_script_that_is_not_there(tmp_path):
    job = start(tmp_path / "none.py", "0")
    _, errors = job.communicate(timeout=30)
    assert job.returncode == 1
    assert errors == f"error: there is no script {tmp_path / 'none.py'}\n"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is missing")
def test_the_rank_that_failed_is_named(script):
    # The first start of each rank is one of the two; rank 0 waits, so that rank 1 is first.
    code, out, said = run(script, "others+step3+9", "-np", "2", "--restarts", "0")
    assert code == 9, (out, said)
    assert said == ["kerasrec run: rank 1 ended with status 9 (ValueError: it is broken); giving up"]
