"""What was written is on the disk when a writer returns: files, then folders, then the rename, then removals."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITE = """
import sys
from pathlib import Path
from kerasrec.files import write_aside
for text in ("one", "two"):
    with write_aside(Path(sys.argv[1], "new", "folder", "out")) as aside:
        (aside / "sub").mkdir(parents=True)
        (aside / "top.txt").write_text(text)
        (aside / "sub" / "deep.txt").write_text(text)
    with write_aside(Path(sys.argv[1], "file.txt")) as aside:
        aside.write_text(text)
"""
LIBRARY = """
import sys
from pathlib import Path
import polars as pl
from kerasrec import etl
frame = pl.DataFrame({"user": ["a", "b"] * 50, "clicked": [0, 1] * 50})
workflow = etl.Workflow((["user"] >> etl.Categorify()) + (["clicked"] >> etl.Target())).fit(frame)
for _ in range(2):
    workflow.transform(frame).to_parquet(Path(sys.argv[1], "data"), overwrite=True, rows_per_file=40)
    workflow.save(Path(sys.argv[1], "workflow"), overwrite=True)
"""
MODEL = """
import sys
from pathlib import Path
import keras, numpy as np
import kerasrec as kr
user = kr.Column("user", "int64", ("categorical",), cardinality=9)
schema = kr.Schema([user, kr.Column("y", "float32", ("target", "binary"))])
model = kr.models.DCN(schema, embedding_dim=8)
model.compile(optimizer=kr.optimizers.Adagrad(0.1), loss="binary_crossentropy")
model.fit({"user": np.arange(8)}, np.ones((8, 1)), verbose=0)
for _ in range(2):
    kr.parallel.save(model, Path(sys.argv[1], "checkpoint"), overwrite=True)
    kr.serving.export(model, Path(sys.argv[1], "served"), overwrite=True)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("calls are recorded by a preloaded library: needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "syscalls.so"
    source = Path(__file__).with_name("syscalls.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def calls(code: str, folder: Path, shim: Path, log: Path) -> list[tuple[str, str, str]]:
    preload = os.pathsep.join(filter(None, [str(shim), os.environ.get("LD_PRELOAD")]))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "LD_PRELOAD": preload, "SYSCALLS_LOG": str(log), "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, check=True, capture_output=True)
    lines = [tuple(line.split("\t")) for line in log.read_text().splitlines()]
    return [line for line in lines if line[1].startswith(str(folder))]  # type: ignore[misc]


def check_order(done: list[tuple[str, str, str]], folder: Path) -> int:
    """Every rename to a final name comes after all that it names was flushed, and before its folder is; only then
    are old files removed. Returns the number of renames."""
    renames = [
        (at, source, target)
        for at, (call, source, target) in enumerate(done)
        if call in ("rename", "exchange") and ".partial-" not in target
    ]
    for at, source, target in renames:
        flushed = {path for call, path, _ in done[:at] if call == "fsync"}
        later = done[at + 1 :]
        place = next(
            i for i, (call, path, _) in enumerate(later) if call == "fsync" and path == os.path.dirname(target)
        )
        removed = [path for call, path, _ in later[:place] if call == "unlink" and path.startswith(str(folder))]
        assert not removed, f"{removed} removed before {os.path.dirname(target)} was flushed"
        assert source in flushed, f"{source} was renamed before it was flushed"
        order = [path for call, path, _ in done[:at] if call == "fsync" and path.startswith(source)]
        assert order[-1] == source  # a folder after all that is in it
        for path in Path(target).rglob("*"):
            assert str(source / path.relative_to(target)) in flushed, f"{path} was not flushed"
    return len(renames)


def test_files_and_folders_are_flushed_before_they_are_renamed(shim: Path, tmp_path: Path) -> None:
    done = calls(WRITE, tmp_path / "here", shim, tmp_path / "log")
    assert check_order(done, tmp_path) == 4
    new = [path for call, path, _ in done if call == "fsync"]
    for made in ("here/new/folder", "here/new", "here", ""):  # folders that were made are in flushed folders
        assert str(tmp_path / made).rstrip("/") in new or made == ""


def test_datasets_and_workflows_are_on_the_disk(shim: Path, tmp_path: Path) -> None:
    done = calls(LIBRARY, tmp_path / "here", shim, tmp_path / "log")
    assert check_order(done, tmp_path) >= 4


@pytest.mark.slow
def test_checkpoints_and_exports_are_on_the_disk(shim: Path, tmp_path: Path) -> None:
    done = calls(MODEL, tmp_path / "here", shim, tmp_path / "log")
    assert check_order(done, tmp_path) >= 4
    manifests = [
        at for at, (call, _, target) in enumerate(done) if call == "rename" and target.endswith("manifest.json")
    ]
    assert len(manifests) == 2
    flushed = {path for call, path, _ in done[: manifests[1]] if call == "fsync"}
    (save,) = (tmp_path / "here" / "checkpoint").glob("save-*")
    assert {str(save), *map(str, save.iterdir()), str(save.parent)} <= flushed
    first = next(Path(path) for call, path, _ in done if call == "unlink" and "/checkpoint/save-" in path)
    assert first.parent != save
    assert done.index(("unlink", str(first), "")) > manifests[1]
