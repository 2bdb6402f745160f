"""Writing so that nothing half-written ever stands under a final name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def write_aside(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; it takes `path`'s name only when the block ends well.

    The place written to is in a hidden folder beside `path`, so the rename stays on one file system. Where the
    block raises, it is removed and what stood at `path` is untouched. Where the process is killed, what stays
    is the hidden folder, `.NAME.partial-*`.

    Args:
        path: the final name, of a file or a folder; its parents are made.
        overwrite: whether something that stands there is replaced.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
    """
    path = Path(os.path.abspath(path))
    if not overwrite and path.exists():
        raise FileExistsError(f"{path} exists; choose another path, remove it, or pass overwrite=True")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        aside = partial / path.name
        yield aside
        if path.is_dir():  # a folder cannot be renamed over another: move the old one out of the way first
            old = partial / f"{path.name}.old"
            os.rename(path, old)
            try:
                os.rename(aside, path)
            except BaseException:
                os.rename(old, path)
                raise
        else:
            os.replace(aside, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
