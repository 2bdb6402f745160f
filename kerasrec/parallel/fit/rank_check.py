"""Compare ranks before they exchange anything, so that a difference is a message and not a hang."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kerasrec._version import __version__
from kerasrec.parallel import comm

ABSENT = "(absent)"
MOST_DIFFERENCES = 6  # that a message shows


class RanksDiffer(RuntimeError):
    """Ranks of one job were started with different code, data, models or plans."""


def check_same_on_ranks(where: str, fingerprint: dict[str, Any]) -> None:
    """Compare this rank's fingerprint with every other rank's; every rank must call it.

    Args:
        where: what is about to begin; it is compared too.
        fingerprint: JSON-like values by item, in any depth.

    Raises:
        RanksDiffer: on every rank; names the items that differ, the ranks and their values.
    """
    if comm.size() == 1:
        return
    text = json.dumps({"step": where, **fingerprint}, sort_keys=True, default=str)
    if len(set(comm.gather_objects(hashlib.sha256(text.encode()).digest()))) == 1:
        return
    by_rank = [json.loads(other) for other in comm.gather_objects(text)]
    lines = list(_differences(by_rank, ""))
    shown = "".join(f"\n  {line}" for line in lines[:MOST_DIFFERENCES])
    more = f"\n  and {len(lines) - MOST_DIFFERENCES} more" if len(lines) > MOST_DIFFERENCES else ""
    raise RanksDiffer(f"the ranks of this job differ at the start of {where}:{shown}{more}")


def code_fingerprint() -> dict[str, str | None]:
    """Return the versions of what computes, and hashes of the script and of kerasrec."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "kerasrec": f"{__version__} ({_package_hash()})",
        "script": None if main is None else _hash([Path(main)]),
    }
    for package, distributions in {"keras": ["keras"], "tensorflow": ["tensorflow", "tensorflow-cpu"]}.items():
        for distribution in distributions:
            try:
                versions[package] = version(distribution)
            except PackageNotFoundError:
                continue
    return versions


@cache
def _package_hash() -> str:
    return _hash(sorted(Path(__file__).parents[2].rglob("*.py")))


def _hash(files: Iterable[Path]) -> str:
    contents = b"".join(file.read_bytes() for file in files if file.is_file())
    return hashlib.sha256(contents).hexdigest()[:8]


def _differences(by_rank: Sequence[Any], path: str) -> Iterator[str]:
    """Yield a line for each of the deepest items whose values differ between ranks."""
    first = by_rank[0]
    if all(value == first for value in by_rank):
        return
    if all(isinstance(value, dict) for value in by_rank):
        for key in dict.fromkeys(key for value in by_rank for key in value):
            yield from _differences([value.get(key, ABSENT) for value in by_rank], f"{path}.{key}".lstrip("."))
    elif all(isinstance(value, list) and len(value) == len(first) for value in by_rank):
        for place, values in enumerate(zip(*by_rank, strict=True)):
            yield from _differences(values, f"{path}[{place}]")
    else:
        ranks: dict[str, list[int]] = {}
        for rank, value in enumerate(by_rank):
            ranks.setdefault(_shortened(value), []).append(rank)
        yield f"{path}: " + ", ".join(f"{value} on {_listed(numbers)}" for value, numbers in ranks.items())


def _shortened(value: Any) -> str:
    text = f"{len(value)} of them" if isinstance(value, list) else str(value)
    return text if len(text) < 100 else f"{text[:60]}... ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _listed(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}"
