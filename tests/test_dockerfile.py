"""The steps of the Dockerfile, run one after another outside Docker.

A fresh virtual environment stands for the image's Python, and a temporary folder for its root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KNOWN = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, rest) of each step, its lines joined."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    steps = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, rest) for name, rest in steps]


def variables(name: str, rest: str) -> dict[str, str]:
    """Return the variables that ARG or ENV sets."""
    if name == "ARG":
        variable, _, value = rest.partition("=")
        return {variable: value}
    return dict(re.findall(r"(\w+)=(\S+)", rest))


def test_every_instruction_is_one_that_this_test_runs():
    assert {name for name, _ in instructions()} == KNOWN


@pytest.mark.nightly  # every package is installed anew
@pytest.mark.slow
@pytest.mark.alone  # `kerasrec doctor` starts ranks
def test_its_steps_build_an_image_that_runs_the_command(tmp_path):
    python = tmp_path / "python"
    subprocess.run([sys.executable, "-m", "venv", python], check=True)
    # The parts of the real home that a build would fetch or make again: what pip and Horovod's build keep.
    keep = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "XDG_", "HOME"))}
    environment = {**keep, "PATH": f"{python / 'bin'}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    folder, entry = tmp_path, []
    for name, rest in instructions():
        if name in ("ARG", "ENV"):
            environment |= variables(name, rest)
        elif name == "WORKDIR":
            folder = tmp_path / rest.strip("/")
            folder.mkdir(parents=True)
        elif name == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, folder / source)
        elif name in ("ENTRYPOINT", "CMD"):
            entry += json.loads(rest)
        elif name == "RUN" and not is_for_debian(rest):
            run(["sh", "-c", rest], folder, environment)
    assert "demo" in run(entry, folder, environment)
    printed = run([entry[0], "demo", "--rows", "10000"], folder, environment)
    assert "AUC" in printed
    assert (folder / "report" / "summary.json").exists()


def is_for_debian(step: str) -> bool:
    """Return whether a step installs packages of the system that are here already."""
    packages = re.search(r"--no-install-recommends (.*?) &&", step)
    return packages is not None and all(map(shutil.which, packages.group(1).split()))


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
