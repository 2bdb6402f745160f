"""Whether all ranks run the same: asked before anything is exchanged, so a difference is a message, not a hang."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kerasrec._version import __version__
from kerasrec.parallel import comm

ABSENT = "(absent)"


class RanksDiffer(RuntimeError):
    """Ranks of one job were started with different code, data, models or plans."""


def check_same_on_ranks(where: str, facts: dict[str, Any]) -> None:
    """Compare this rank's facts with every other rank's; all ranks must call it.

    Args:
        where: what is about to begin; a fact itself.
        facts: JSON-like values by item, in any depth.

    Raises:
        RanksDiffer: on every rank; names the items that differ, the ranks and their values.
    """
    if comm.size() == 1:
        return
    text = json.dumps({"step": where, **facts}, sort_keys=True, default=str)
    if len(set(comm.gather_objects(hashlib.sha256(text.encode()).digest()))) == 1:
        return
    everyones = [json.loads(each) for each in comm.gather_objects(text)]
    found = list(_differences(everyones, ""))
    shown = "".join(f"\n  {line}" for line in found[:6])
    more = f"\n  and {len(found) - 6} more" if len(found) > 6 else ""
    raise RanksDiffer(f"the ranks of this job differ at the start of {where}:{shown}{more}")


def code_fingerprint() -> dict[str, str | None]:
    """What computes: equal on all ranks, or their results are not. Of the script and of kerasrec a hash."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "kerasrec": f"{__version__} ({_package()})",
    }
    found["script"] = None if main is None else _hash([Path(main)])
    for package, names in {"keras": ["keras"], "tensorflow": ["tensorflow", "tensorflow-cpu"]}.items():
        for name in names:
            try:
                found[package] = version(name)
            except PackageNotFoundError:
                continue
    return found


@cache
def _package() -> str:
    return _hash(sorted(Path(__file__).parents[2].rglob("*.py")))


def _hash(files: Iterable[Path]) -> str:
    contents = b"".join(file.read_bytes() for file in files if file.is_file())
    return hashlib.sha256(contents).hexdigest()[:8]


def _differences(values: list[Any], path: str) -> Iterator[str]:
    """One line for each of the deepest items that differ between ranks."""
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, dict) for value in values):
        for key in dict.fromkeys(key for value in values for key in value):
            yield from _differences([value.get(key, ABSENT) for value in values], f"{path}.{key}".lstrip("."))
    elif all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        for place, some in enumerate(zip(*values, strict=True)):
            yield from _differences(list(some), f"{path}[{place}]")
    else:
        by_value: dict[str, list[int]] = {}
        for rank, value in enumerate(values):
            by_value.setdefault(_short(value), []).append(rank)
        yield f"{path}: " + ", ".join(f"{value} on {_ranks(some)}" for value, some in by_value.items())


def _short(value: Any) -> str:
    text = f"{len(value)} of them" if isinstance(value, list) else str(value)
    return text if len(text) < 100 else f"{text[:60]}... ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _ranks(some: list[int]) -> str:
    shown = ", ".join(map(str, some[:8])) + (f" and {len(some) - 8} more" if len(some) > 8 else "")
    return f"rank {shown}" if len(some) == 1 else f"ranks {shown}"
