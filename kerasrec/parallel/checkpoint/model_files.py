"""Keras's own files, written so that a save that fails or is killed leaves the earlier file as it was.

Keras opens the file that it writes, which empties it, and a sharded save overwrites one file after another. Here
Keras writes to a temporary name, and what it wrote takes the final name in one step.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kerasrec.files import flush_folder, flush_tree, write_aside

# What Keras writes into the folder of an unzipped model.
_UNZIPPED = ("assets/*", "config.json", "metadata.json", "model.weights.h5", "model.weights.npz")


def save_model_aside(
    save: Callable[..., None], filepath: Any, overwrite: bool = True, zipped: bool | None = None, **options: Any
) -> None:
    """Write what `keras.Model.save` writes: a `.keras` file, a folder with `zipped=False`, or Keras's old `.h5`.

    Args:
        save: a model's `save`, Keras's own.
        filepath, overwrite, zipped, options: its arguments.

    Raises:
        FileExistsError: `filepath` is a folder with other files than a saved model's, or a folder where a file
            is to be written; or `overwrite` is false and nobody answers the question whether to overwrite.
    """
    folder = zipped is False
    known = not str(filepath).endswith(".keras") if folder else str(filepath).endswith((".keras", ".h5", ".hdf5"))
    if not known or not is_local(filepath):  # Keras's errors, and its ways to other machines
        save(filepath, overwrite, zipped=zipped, **options)
        return
    path = Path(os.path.abspath(filepath))
    if _may_write(path, overwrite):
        with write_aside(path, files=_UNZIPPED if folder else ()) as aside:
            save(str(aside), True, zipped=zipped, **options)


def save_weights_aside(
    save: Callable[..., None],
    filepath: Any,
    overwrite: bool = True,
    max_shard_size: float | None = None,
    **options: Any,
) -> None:
    """Write what `keras.Model.save_weights` writes: a `.weights.h5` file, or shards and their `.weights.json`.

    Args and errors are those of `save_model_aside`.
    """
    known = (".weights.h5",) if max_shard_size is None else ("weights.h5", "weights.json")
    if not str(filepath).endswith(known) or not is_local(filepath):
        save(filepath, overwrite, max_shard_size=max_shard_size, **options)
        return
    path = Path(os.path.abspath(filepath))
    if max_shard_size is not None:
        path = path.with_suffix(".json")
    if not _may_write(path, overwrite):
        return
    if max_shard_size is not None:
        _save_shards(save, path, max_shard_size, options)
        return
    with write_aside(path, files=()) as aside:
        save(str(aside), True, **options)


def is_local(filepath: Any) -> bool:
    """Return whether it is a path of this machine, not the address of a store."""
    return isinstance(filepath, str | os.PathLike) and "://" not in str(filepath)


def _save_shards(save: Callable[..., None], path: Path, max_shard_size: float, options: dict[str, Any]) -> None:
    """Write shards under names of this save alone, then the index that lists them, then remove the earlier ones.

    Keras reads the index, which is replaced in one step: until then the earlier shards are complete. Keras also
    opens a file NAME_00000, whatever the index lists, so an empty one is put there.
    """
    name, mark, first = _name(path), uuid.uuid4().hex[:8], path.with_name(f"{_name(path)}_00000.weights.h5")
    earlier = _shards_of(path)
    with write_aside(path, files=()) as aside:
        index = aside.with_name(f"{name}-{mark}.weights.json")
        save(str(index), True, max_shard_size=max_shard_size, **options)
        written = {shard.name for shard in aside.parent.glob("*.weights.h5")}
        for shard in written:
            flush_tree(aside.with_name(shard))
            os.replace(aside.with_name(shard), path.with_name(shard))
        if not first.exists():
            _write_empty(first)
        flush_folder(path.parent)
        os.replace(index, aside)
    if first.name in earlier:
        _write_empty(first)
    ours = re.compile(rf"{re.escape(name)}-[0-9a-f]{{8}}_\d{{5}}\.weights\.h5")  # those of a killed save too
    left = {other.name for other in path.parent.iterdir() if ours.fullmatch(other.name)}
    for other in (earlier | left) - written - {first.name}:
        with suppress(OSError):
            path.with_name(other).unlink()


def _write_empty(path: Path) -> None:
    import h5py

    with write_aside(path) as aside:
        h5py.File(aside, "w").close()


def _name(path: Path) -> str:
    """Return what the names of an index's shards begin with."""
    return path.name.removesuffix(".json").removesuffix(".weights")


def _shards_of(path: Path) -> set[str]:
    """Return the shards that an index lists under names of its own; none if it is missing or unreadable."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    names = [each for value in listed for each in (value if isinstance(value, list) else [value])]
    pattern = re.compile(rf"{re.escape(_name(path))}(-[0-9a-f]{{8}})?_\d{{5}}\.weights\.h5")
    return {each for each in names if isinstance(each, str) and pattern.fullmatch(each)}


def _may_write(path: Path, overwrite: bool) -> bool:
    """Ask the user, as Keras does, before an existing file is replaced without `overwrite`."""
    if overwrite or not path.exists():
        return True
    try:
        answer = input(f"{path} already exists - overwrite? [y/n] ")
        while answer.strip().lower() not in ("y", "n"):
            answer = input("Enter y (overwrite) or n (cancel): ")
    except EOFError:
        raise FileExistsError(f"{path} exists; choose another path, remove it, or pass overwrite=True") from None
    return answer.strip().lower() == "y"
