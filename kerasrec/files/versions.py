"""Whether a file is still the one that was read before."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

GONE = "it is gone"


@dataclass(frozen=True)
class Version:
    """What changes when a file is replaced or written to; `inode` is None if it cannot be compared."""

    size: int
    modified: int
    inode: int | None

    @classmethod
    def of(cls, path: Path) -> Version:
        status = os.stat(path)
        return cls(status.st_size, status.st_mtime_ns, status.st_ino if _keeps_inodes(status.st_dev) else None)


def what_changed(path: Path, version: Version) -> str | None:
    """Return how a file differs from that version; None if it does not."""
    try:
        now = Version.of(path)
    except FileNotFoundError:
        return GONE
    if now.size != version.size:
        return f"it has {now.size:,} bytes, and had {version.size:,}"
    if now.modified != version.modified:
        return "it was written to"
    inodes = {version.inode, now.inode}
    return "another file has its name now" if len(inodes) == 2 and None not in inodes else None


@lru_cache(maxsize=256)
def _keeps_inodes(device: int) -> bool:
    """Return whether a file keeps its inode: on file systems in user space (sshfs, gcsfuse) it may not."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [line.partition(" - ")[2].split(" ")[0] for line in lines if line.split(" ")[2] == number]
    return not any(kind.startswith("fuse") for kind in kinds)
