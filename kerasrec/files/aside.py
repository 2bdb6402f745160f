"""Writing so that nothing incomplete ever has its final name, and what has it is on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kerasrec.files.disk_full import naming_full_disk
from kerasrec.files.flush import flush_folder, flush_tree
from kerasrec.files.leftovers import OLD, partial_folder
from kerasrec.files.renames import exchange, rename_new
from kerasrec.files.targets import check_target


@contextmanager
def write_aside(
    path: str | os.PathLike[str], *, overwrite: bool = True, files: Sequence[str] | None = None
) -> Iterator[Path]:
    """Yield a path to write to, which is renamed to `path` when the block ends without an error.

    It is in a hidden folder beside `path`, so that both are on one file system. If the block raises, it is removed
    and what was at `path` is unchanged. If the process is killed, the hidden folder, `.NAME.partial-*`, remains
    until something is written beside it again. If `path` is a link, its target is replaced.

    When the block ends, files and folders are flushed to the disk, then renamed, and the old ones are removed only
    after the rename is on the disk too. What is at `path` is replaced in one step if the system can exchange two
    names (Linux, macOS).

    Args:
        path: the final name of the file or folder; its parents are made.
        overwrite: whether to replace something of that name. It is checked at the start and again in the rename.
        files: patterns of the names of files that a folder may contain to be replaced ("part-*.parquet"), relative
            to it; `*` matches files in its folders, too. By default any; pass it if a user chooses the path.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false, or what is there may not be replaced: a folder
            with other files, a mount point, a device.
        OSError: it cannot be written; for a full disk, with the bytes written and free.
    """
    shown = Path(os.path.abspath(path))
    target = check_target(shown, overwrite=overwrite, files=files)
    new_folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    with ExitStack() as stack:
        with naming_full_disk(shown, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(partial_folder(target.parent, shown.name))
        aside = partial / shown.name
        with naming_full_disk(shown, partial):
            yield aside
            flush_tree(aside)
            _rename(aside, target, shown, overwrite, files)
            for folder in new_folders:
                flush_folder(folder.parent)


def _rename(aside: Path, target: Path, shown: Path, overwrite: bool, files: Sequence[str] | None) -> None:
    """Rename what was written to its final name, and what has that name to one where it is removed."""
    while not os.path.lexists(target):
        try:
            rename_new(aside, target)
        except FileExistsError:
            continue  # something was made there since the line above
        flush_folder(target.parent)
        return
    check_target(shown, overwrite=overwrite, files=files)
    if aside.is_dir() != target.is_dir():
        raise FileExistsError(f"{shown} is {'a folder' if target.is_dir() else 'a file'}, so it is not replaced")
    if not aside.is_dir():
        os.replace(aside, target)
        flush_folder(target.parent)
        return
    if exchange(aside, target):
        try:
            flush_folder(target.parent)
        except BaseException:
            exchange(aside, target)
            raise
        return
    old = aside.parent / OLD / target.name  # out of the way: a folder cannot be renamed over another
    old.parent.mkdir()
    os.rename(target, old)
    try:
        os.rename(aside, target)
    except BaseException:
        os.rename(old, target)
        raise
    flush_folder(target.parent)
