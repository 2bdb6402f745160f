"""Writing so that nothing half-written ever has a final name, and what has it is on the disk."""

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
    """Yield a path to write a file or a folder to; it takes `path`'s name only when the block ends well.

    The place written to is in a hidden folder beside `path`, so the rename stays on one file system. Where the
    block raises, it is removed and what was at `path` is untouched. Where the process is killed, what stays is
    the hidden folder, `.NAME.partial-*`, until somebody writes beside it again. Through a link, what it leads to
    is replaced.

    When the block ends, files and folders are flushed to the disk, then renamed, and the old ones are removed only
    when the rename is on the disk too. What is at `path` is replaced in one step where the system can exchange
    two names (Linux, macOS).

    Args:
        path: the final name, of a file or a folder; its parents are made.
        overwrite: whether something of that name is replaced. That is asked at the start, and again in the step
            of the rename.
        files: patterns of the names of files that a folder may hold to be replaced ("part-*.parquet"), relative
            to it; `*` is also of files in its folders. By default any, so whoever writes a folder that a user
            names must say which.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false; or what is there may not be replaced: a folder
            with other files, a mount point, a device.
        OSError: it cannot be written; of a full disk, with the bytes written and free.
    """
    shown = Path(os.path.abspath(path))
    target = check_target(shown, overwrite=overwrite, files=files)
    missing = [each for each in (target.parent, *target.parent.parents) if not each.exists()]
    with ExitStack() as stack:
        with naming_full_disk(shown, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(partial_folder(target.parent, shown.name))
        aside = partial / shown.name
        with naming_full_disk(shown, partial):
            yield aside
            flush_tree(aside)
            _rename(aside, target, shown, overwrite, files)
            for folder in missing:
                flush_folder(folder.parent)


def _rename(aside: Path, target: Path, shown: Path, overwrite: bool, files: Sequence[str] | None) -> None:
    """Give what was written its final name; what has it now comes to lie aside, to be removed."""
    while not os.path.lexists(target):
        try:
            rename_new(aside, target)
        except FileExistsError:
            continue  # made since the line above
        flush_folder(target.parent)
        return
    check_target(shown, overwrite=overwrite, files=files)
    if aside.is_dir() != target.is_dir():
        raise FileExistsError(f"{shown} is {'a folder' if target.is_dir() else 'a file'}, and is not replaced")
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
