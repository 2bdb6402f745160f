"""Where a loader is in its passes, as plain data that is saved beside a model's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from kerasrec.data.arguments import whole
from kerasrec.data.files.discovery import Chunk

VERSION = 1  # of a state


@dataclass
class Pass:
    """A pass that was begun: its epoch, the batches that were left out at its start, and those given since."""

    epoch: int
    first: int = 0
    given: int = 0


class Resumable:
    """`Loader.state` and `Loader.restore`."""

    _pass: Pass | None = None  # the one begun last
    _resumed: Pass | None = None  # the one that `restore` left to be gone on with

    @property
    def _skip(self: Any) -> int:
        """How many batches the next pass leaves out: none where another epoch was set since `restore`."""
        resumed = self._resumed
        return resumed.first if resumed is not None and resumed.epoch == self.epoch else 0

    def state(self: Any, batches: int | None = None) -> dict[str, Any]:
        """What `restore` takes to go on after the last batch that was given: a small dict for JSON.

        It is the same on all ranks.

        Args:
            batches: how many batches of the current pass count as done, where batches are read ahead of their use:
                `fit` has `tf.data` do so, and its callbacks know the number, `batch + 1` in `on_train_batch_end`.

        Raises:
            ValueError: `batches` is no number of batches of a pass that was begun.

        `kr.callbacks.Checkpoint` and `kr.checkpoint.save` save it together with the weights that belong to it.

        Example:

        >>> for features, target in train:  # doctest: +SKIP
        ...     state = train.state()
        """
        now = self._pass
        epoch, done = self.epoch, self._skip
        if batches is not None:
            if now is None:
                raise ValueError(f"batches={batches!r} of a pass, but none was begun yet")
            batches = whole("batches", batches, least=0)
            if batches > len(self) - now.first:
                raise ValueError(f"batches must be at most the pass's {len(self) - now.first:,}, not {batches:,}")
            epoch, done = now.epoch, now.first + batches
        elif now is not None and self.epoch == now.epoch + 1 and not self._skip:
            epoch, done = now.epoch, now.first + now.given
        if done == len(self):
            epoch, done = epoch + 1, 0
        return {"version": VERSION, "epoch": epoch, "batches": done, **self._facts()}

    def restore(self: Any, state: Mapping[str, Any]) -> None:
        """Let the next pass go on where `state` was taken: it yields the batches that were left, bit for bit.

        `fit` must be told that the first epoch is a shorter one: Keras asks for `len(loader)` batches in each, and
        where it gets fewer, it counts a step that had none. So a broken epoch is a `fit` of its own.

        Pools that were used up are not decoded. The pass after it is a whole one, and so is any where `epoch` is
        set to another than the state's. Between epochs the number of
        ranks may be another than that of `state`, in the middle of one not.

        Raises:
            ValueError: `state` is of other data, of a loader with other arguments or of another version, named;
                or not a state.

        Example:

        >>> train.restore(state)  # doctest: +SKIP
        >>> epoch, left = state["epoch"], len(train) - state["batches"]  # doctest: +SKIP
        >>> model.fit(train, initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=left)  # doctest: +SKIP
        >>> model.fit(train, initial_epoch=epoch + 1, epochs=10)  # doctest: +SKIP
        """
        facts = self._facts()
        missing = [name for name in ("version", "epoch", "batches", *facts) if name not in state]
        if missing:
            raise ValueError(f"not the state of a loader: it has no {missing[0]!r}")
        if state["version"] != VERSION:
            raise ValueError(f"the state has version={state['version']!r}, this kerasrec reads version {VERSION}")
        epoch, done = whole("epoch", state["epoch"], least=0), whole("batches", state["batches"], least=0)
        for name, here in facts.items():
            there = state[name]
            if there == here:
                continue
            if name != "ranks":
                raise ValueError(f"the state is of a loader with {name}={there!r}, this one has {name}={here!r}")
            if done:
                raise ValueError(
                    f"the state is of ranks={there!r} in the middle of an epoch, this loader has ranks={here!r}: "
                    "the number of ranks may change between epochs only"
                )
        if done and done >= len(self):
            raise ValueError(f"the state has batches={done!r}, a pass of this loader {len(self):,}")
        self.epoch, self._resumed, self._pass = epoch, Pass(epoch, first=done), None

    def _facts(self: Any) -> dict[str, Any]:
        """All that decides which rows a batch has; the loader's rank is not among it, nor its columns."""
        return {
            "rows": self.total_rows,
            "row_groups": len(self._chunks),
            "data": _fingerprint(self._chunks),
            "shuffle": self.shuffle,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "pool_rows": self.pool_rows,
            "ranks": self.ranks,
        }


def _fingerprint(chunks: Sequence[Chunk]) -> int:
    """Of files' names and row groups: a folder may be moved, not written anew in other pieces."""
    seen = 0
    for chunk in chunks:
        seen = crc32(f"{chunk.path.name}\0{chunk.row_group}\0{chunk.rows}\n".encode(), seen)
    return seen
