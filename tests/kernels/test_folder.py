"""The folder of compiled libraries: nobody else's code is loaded, and what is damaged is compiled again."""

import ctypes
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kerasrec.kernels import build
from kerasrec.kernels.folder import cache_folder, unsafe_reason

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
NOBODY = 65534


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kerasrec"


def load() -> ctypes.CDLL:
    return build.load("pools.cc", ctypes.CDLL)


def libraries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.so")}


def test_only_its_owner_can_enter(cache):
    before = os.umask(0)
    try:
        assert cache_folder() == cache
        assert [stat.S_IMODE(each.stat().st_mode) for each in (cache, cache.parent)] == [0o700, 0o700]
        load()
    finally:
        os.umask(before)
    (library,) = cache.glob("*.so")
    assert stat.S_IMODE(library.stat().st_mode) == 0o700
    cache.chmod(0o755)  # as it was made before
    cache_folder()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_library_is_compiled_once_and_again_when_it_is_damaged(cache, monkeypatch):
    load()
    kept = libraries(cache)
    ((name, content),) = kept.items()
    assert name.endswith(f"-{hashlib.sha256(content).hexdigest()}.so")
    monkeypatch.setattr(build, "_compiled", None)  # not called
    load()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    for damaged in (b"", content[:5000], content[:-100] + b"x" * 100, b"\0" * len(content)):
        (cache / name).unlink()  # this process has it mapped
        (cache / name).write_bytes(damaged)
        assert load().gather_32 is not None
        assert libraries(cache) == kept


def test_a_library_that_does_not_open_is_compiled_again(cache):
    """As of another architecture: intact, but not to be loaded."""
    load()
    ((name, content),) = libraries(cache).items()
    (cache / name).unlink()
    other = b"\x7fELF for another machine"
    (cache / f"{name.rsplit('-', 1)[0]}-{hashlib.sha256(other).hexdigest()}.so").write_bytes(other)
    (next(cache.glob("*.so"))).chmod(0o700)
    assert load().gather_32 is not None
    assert libraries(cache) == {name: content}


def test_a_library_that_others_may_write_is_compiled_again(cache, caplog):
    load()
    (library,) = cache.glob("*.so")
    for spoil in (lambda: library.chmod(0o777), lambda: os.chown(library, NOBODY, -1), lambda: link(library)):
        if os.getuid() == 0 or spoil.__name__ != "chown":
            spoil()
            caplog.clear()
            load()
            assert "is compiled again" in caplog.text
            assert not library.is_symlink()
            assert stat.S_IMODE(library.stat().st_mode) == 0o700
            assert library.stat().st_uid == os.getuid()


def link(library: Path) -> None:
    elsewhere = library.with_suffix(".elsewhere")
    os.replace(library, elsewhere)
    library.symlink_to(elsewhere)


@needs_root
@pytest.mark.parametrize("which", ["cache", "above", "linked", "target", "written", "group"])
def test_a_folder_that_others_may_change_is_refused(tmp_path, monkeypatch, which):
    mine, cache = tmp_path / "mine", tmp_path / "mine" / "cache"
    (cache / "kerasrec").mkdir(parents=True, mode=0o700)
    culprit = {"cache": cache / "kerasrec", "above": mine}.get(which)
    if which in ("linked", "target"):
        theirs = tmp_path / "theirs"
        theirs.mkdir(mode=0o755)
        os.rename(cache, theirs / "cache")
        (theirs / "hop").symlink_to("cache")
        cache.symlink_to("../theirs/hop")
        os.chown(theirs, NOBODY, -1)
        culprit = theirs
    if which in ("cache", "above"):
        os.chown(culprit, NOBODY, -1)
    if which in ("written", "group"):
        culprit = mine
        if which == "group":
            os.chown(mine, 0, 100)
        mine.chmod(0o777 if which == "written" else 0o775)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with pytest.raises(OSError, match="so what is in .* is not used") as refusal:
        load()
    assert str(culprit) in str(refusal.value)
    assert "set XDG_CACHE_HOME to a folder that only you can write" in str(refusal.value)


def test_a_sticky_folder_above_is_fine(tmp_path, monkeypatch):
    """As /tmp is."""
    tmp_path.chmod(0o1777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder().is_dir()
    assert unsafe_reason(tmp_path) is not None  # but nothing that lies in it by itself


def test_processes_that_start_together_compile_once(cache, tmp_path):
    compiler = tmp_path / "count.sh"
    compiler.write_text(f'#!/bin/sh\necho once >> {tmp_path}/log\nsleep 0.5\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    code = "import ctypes; from kerasrec.kernels import build; build.load('pools.cc', ctypes.CDLL)"
    environment = {**os.environ, "CXX": str(compiler)}
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [each.wait() for each in started] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "once\n"
    assert len(libraries(cache)) == 1
