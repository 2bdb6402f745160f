"""Replacing files and folders: which are replaced, in how many steps, and which never are."""

import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from kerasrec import etl
from kerasrec.files import aside as writing
from kerasrec.files import renames, write_aside
from kerasrec.files.targets import check_target

FRAME = pl.DataFrame({"user": ["a", "b", "c"], "clicked": [0, 1, 1]})


@pytest.fixture(scope="module")
def workflow() -> etl.Workflow:
    return etl.Workflow((["user"] >> etl.Categorify()) + (["clicked"] >> etl.Target())).fit(FRAME)


def write_folder(path: Path, text: str, **arguments: object) -> None:
    with write_aside(path, **arguments) as aside:  # type: ignore[arg-type]
        aside.mkdir()
        (aside / "file.txt").write_text(text)


def write_file(path: Path, text: str, **arguments: object) -> None:
    with write_aside(path, **arguments) as aside:  # type: ignore[arg-type]
        aside.write_text(text)


# What the system can do in one step, and what is done where it cannot.
@pytest.fixture(params=["one step", "several steps"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "several steps":
        monkeypatch.setattr(renames, "_rename", lambda *_: False)
    return request.param


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_of_writers_at_the_same_time_one_gets_the_name(write, steps: str, tmp_path: Path) -> None:
    path, both = tmp_path / "out", threading.Barrier(8)

    def work(number: int) -> str:
        try:
            with write_aside(path, overwrite=False) as aside:
                both.wait(30)  # all have begun while nothing was there
                if write is write_file:
                    aside.write_text(str(number))
                else:
                    aside.mkdir()
                    (aside / "file.txt").write_text(str(number))
            return f"wrote {number}"
        except FileExistsError as error:
            return f"refused {path in map(Path, str(error).split())}"

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(work, range(8)))
    written = path.read_text() if write is write_file else (path / "file.txt").read_text()
    assert Counter(told) == {"refused True": 7, f"wrote {written}": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_is_never_missing(tmp_path: Path) -> None:
    if not renames.exchange(*(tmp_path / name for name in make_two(tmp_path))):
        pytest.skip("this file system cannot exchange two names")
    path, stop, missing = tmp_path / "out", threading.Event(), []
    write_folder(path, "0")

    def look() -> None:
        while not stop.is_set():
            if not path.exists():
                missing.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(50):
            write_folder(path, str(number))
    finally:
        stop.set()
        thread.join()
    assert not missing


def make_two(folder: Path) -> list[str]:
    for name in ("one", "two"):
        (folder / name).mkdir()
    return ["one", "two"]


def test_a_folder_is_replaced(steps: str, tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_folder(tmp_path / "out", text)
        assert (tmp_path / "out" / "file.txt").read_text() == text
        assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_failed_rename_keeps_the_old_one(steps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "out", "old")

    def fail(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    if steps == "one step":
        monkeypatch.setattr(writing, "flush_folder", fail)
    else:
        rename = os.rename
        monkeypatch.setattr(
            os,
            "rename",
            lambda a, b: (
                fail(b)
                if ".partial-" in str(a) and b == tmp_path / "out" and "old" not in str(a)
                else rename(a, b)
            ),
        )
    with pytest.raises(OSError, match="Input/output error"):
        write_folder(tmp_path / "out", "new")
    assert (tmp_path / "out" / "file.txt").read_text() == "old"


@pytest.mark.parametrize("name", ["notes.txt", "part-00000.parquet.bak", "sub/part-00000.parquet", ".git/config"])
def test_a_folder_with_other_files_is_not_replaced(name: str, workflow: etl.Workflow, tmp_path: Path) -> None:
    for folder, write in (("data", workflow.transform(FRAME).to_parquet), ("workflow", workflow.save)):
        write(tmp_path / folder)
        write(tmp_path / folder, overwrite=True)
        other = tmp_path / folder / name
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(FileExistsError, match=f"{tmp_path / folder} is not replaced: it contains '{name}'"):
            write(tmp_path / folder, overwrite=True)
        assert sorted(tmp_path.rglob("*")) == before
        assert other.read_text() == "mine"


def test_folders_of_another_kind_are_not_replaced(workflow: etl.Workflow, tmp_path: Path) -> None:
    workflow.save(tmp_path / "workflow")
    with pytest.raises(FileExistsError, match="it contains 'node-"):
        workflow.transform(FRAME).to_parquet(tmp_path / "workflow", overwrite=True)
    assert etl.Workflow.load(tmp_path / "workflow").output_schema == workflow.output_schema
    (tmp_path / "empty").mkdir()
    workflow.transform(FRAME).to_parquet(tmp_path / "empty", overwrite=True)
    with pytest.raises(FileExistsError, match="is a folder, so it is not replaced"):
        write_file(tmp_path / "empty", "text")
    write_file(tmp_path / "file", "text")
    with pytest.raises(FileExistsError, match="is a file, so it is not replaced"):
        workflow.save(tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "text"


def test_what_comes_while_writing_is_not_replaced(workflow: etl.Workflow, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with (
        pytest.raises(FileExistsError, match="it contains 'notes.txt'"),
        write_aside(path, files=["*.parquet"]) as aside,
    ):
        aside.mkdir()
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    assert (path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(write, exists: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link.txt"
    link.symlink_to(target)
    if exists:
        write(target, "old")
        with pytest.raises(FileExistsError, match="link.txt exists"):
            write(link, "new", overwrite=False)
    write(link, "new", overwrite=exists)
    assert link.is_symlink()
    assert (target if write is write_file else target / "file.txt").read_text() == "new"
    assert sorted(each.name for each in tmp_path.rglob("*")) == sorted(
        ["elsewhere", "link.txt", "target"] + (["file.txt"] if write is write_folder else [])
    )
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OSError, match="circle: its links lead in a circle"):
        write(tmp_path / "circle", "new")


def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(FileExistsError, match=f"{path} is neither a file nor a folder"):
            write_file(path, "text")
    with pytest.raises(FileExistsError, match="/ is a mount point"):
        write_folder(Path("/"), "text")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("kind", [["-t", "tmpfs", "none"], ["--bind", "."]])
def test_a_mount_point_is_refused(kind: list[str], workflow: etl.Workflow, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    mounted = subprocess.run(
        ["mount", *kind, str(tmp_path / "out")], capture_output=True, cwd=tmp_path, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(
            FileExistsError, match="out is a mount point, which cannot be replaced; choose a path in"
        ):
            workflow.transform(FRAME).to_parquet(tmp_path / "out", overwrite=True)
        workflow.transform(FRAME).to_parquet(tmp_path / "out" / "data")
    finally:
        subprocess.run(["umount", str(tmp_path / "out")], check=True)


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "a b", "[1]", "*", "new\nline", ".old"])
def test_any_name(name: str, tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_file(tmp_path / name, text)
        write_folder(tmp_path / "folder" / name, text)
    assert (tmp_path / name).read_text() == (tmp_path / "folder" / name / "file.txt").read_text() == "new"
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([name, "folder"])


def test_a_parent_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    write_file(tmp_path / "file", "text")
    with pytest.raises(OSError, match="file"):
        write_file(tmp_path / "file" / "below", "text")
    if sys.platform == "linux":
        with pytest.raises(OSError, match=r"cannot write /proc/self/out: no folder can be made beside it"):
            write_file(Path("/proc/self/out"), "text")


def test_desktop_files_do_not_count(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "old")
    (tmp_path / "out" / ".DS_Store").write_bytes(b"")
    assert check_target(tmp_path / "out", overwrite=True, files=["file.txt"]) == tmp_path / "out"
