"""Where a loader is in its passes, as plain data that is saved together with a model's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from kerasrec.data.arguments import integer
from kerasrec.data.batches import BatchStream
from kerasrec.data.files.row_groups import RowGroup

VERSION = 1  # of a state


class Resumable:
    """`Loader.state` and `Loader.restore`."""

    _stream: BatchStream

    def state(self, batches: int | None = None) -> dict[str, Any]:
        """Return what `restore` takes to continue after the last batch that was yielded: a small dict for JSON.

        It is the same on all ranks. `kr.callbacks.Checkpoint` and `kr.checkpoint.save` save it together with the
        weights.

        Args:
            batches: how many batches of the current pass count as done, if they are read ahead of their use: in
                `fit` `tf.data` does so, and callbacks know the number, `batch + 1` in `on_train_batch_end`.

        Raises:
            ValueError: no pass was started, or it does not have that many batches.

        Example:

        >>> for features, target in train:  # doctest: +SKIP
        ...     state = train.state()
        """
        progress, length = self._stream.progress, len(self._stream)
        if batches is not None:
            if progress.started is None:
                raise ValueError(f"batches={batches!r}: no pass has been started yet")
            most = length - progress.started.first
            if (batches := integer("batches", batches, least=0)) > most:
                raise ValueError(f"batches must be at most {most:,}, the batches of the pass; got {batches:,}")
        epoch, done = progress.position(batches)
        if done == length:
            epoch, done = epoch + 1, 0
        return {"version": VERSION, "epoch": epoch, "batches": done, **_settings(self._stream)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Let the next pass continue where `state` was taken: it yields the remaining batches, bit for bit.

        Pools of which all rows were yielded are not decoded. The pass after it is a whole one, and so is the
        next one if `epoch` is set to another than the state's. Between epochs the number of ranks may differ
        from that of `state`, in the middle of one it may not.

        `fit` must know that the first epoch is shorter: Keras asks for `len(loader)` batches in each, and counts a
        step without a batch if it gets fewer. So the rest of an interrupted epoch is a `fit` of its own.

        Raises:
            ValueError: `state` is not a state, is of another version, of other data, or of a loader with other
                arguments; names what differs.

        Example:

        >>> train.restore(state)  # doctest: +SKIP
        >>> epoch, remaining = state["epoch"], len(train) - state["batches"]  # doctest: +SKIP
        >>> model.fit(train, initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=remaining)  # doctest: +SKIP
        >>> model.fit(train, initial_epoch=epoch + 1, epochs=10)  # doctest: +SKIP
        """
        settings, length = _settings(self._stream), len(self._stream)
        missing = [name for name in ("version", "epoch", "batches", *settings) if name not in state]
        if missing:
            raise ValueError(f"this is not the state of a loader: it has no {missing[0]!r}")
        if state["version"] != VERSION:
            raise ValueError(f"the state has version={state['version']!r}; this kerasrec reads version {VERSION}")
        epoch, done = integer("epoch", state["epoch"], least=0), integer("batches", state["batches"], least=0)
        for name, value in settings.items():
            if state[name] != value:
                _refuse(name, state[name], value, in_epoch=done > 0)
        if done and done >= length:
            raise ValueError(f"the state has batches={done!r}; a pass of this loader has {length:,}")
        self._stream.progress.restore(epoch, done)


def _refuse(name: str, saved: Any, value: Any, in_epoch: bool) -> None:
    """Raise `ValueError` for a setting that differs, unless it is the number of ranks between epochs."""
    if name != "ranks":
        raise ValueError(f"the state is of a loader with {name}={saved!r}; this one has {name}={value!r}")
    if in_epoch:
        raise ValueError(
            f"the state is of ranks={saved!r} in the middle of an epoch, this loader has ranks={value!r}: "
            "the number of ranks may change between epochs only"
        )


def _settings(stream: BatchStream) -> dict[str, Any]:
    """Return everything that decides which rows a batch has; the rank and the columns do not."""
    split = stream.split
    return {
        "rows": split.total,
        "row_groups": len(stream.row_groups),
        "data": _checksum(stream.row_groups),
        "shuffle": stream.shuffle,
        "seed": stream.seed,
        "batch_size": split.batch_size,
        "drop_last": split.drop_last,
        "pool_rows": stream.pool_rows,
        "ranks": split.ranks,
    }


def _checksum(row_groups: Sequence[RowGroup]) -> int:
    """Return a checksum of the files' names and row groups: a folder may be moved, but not divided differently."""
    checksum = 0
    for row_group in row_groups:
        entry = f"{row_group.path.name}\0{row_group.index}\0{row_group.rows}\n"
        checksum = crc32(entry.encode(), checksum)
    return checksum
