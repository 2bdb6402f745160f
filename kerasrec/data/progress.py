"""How far a stream has come in its passes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass
class Pass:
    """A pass over the rows.

    Attributes:
        epoch: its number.
        first: the batches that are skipped at its start.
        yielded: the batches that were yielded since.
    """

    epoch: int
    first: int = 0
    yielded: int = 0


@dataclass
class Progress:
    """The passes of a stream that were started, and where the next one begins.

    Attributes:
        epoch: the number of the next pass. May be set.
        started: the last pass that was started.
        restored: the pass that `restore` left to be continued.
    """

    epoch: int = 0
    started: Pass | None = None
    restored: Pass | None = None

    @property
    def skipped(self) -> int:
        """The number of batches that the next pass skips; 0 if another epoch was set since `restore`."""
        return self.restored.first if self.restored is not None and self.restored.epoch == self.epoch else 0

    def start(self) -> Pass:
        """Start the next pass."""
        self.started = Pass(self.epoch, first=self.skipped)
        self.epoch, self.restored = self.epoch + 1, None
        return self.started

    def position(self, batches: int | None = None) -> tuple[int, int]:
        """Return an epoch and how many of its batches are done.

        Args:
            batches: how many of the batches that the current pass yielded count as done; all if not given.
        """
        started = self.started
        if started is not None and batches is not None:
            return started.epoch, started.first + batches
        if started is not None and self.epoch == started.epoch + 1 and not self.skipped:
            return started.epoch, started.first + started.yielded
        return self.epoch, self.skipped

    def restore(self, epoch: int, batches: int) -> None:
        """Let the next pass be that of `epoch` without its first `batches` batches."""
        self.epoch, self.restored, self.started = epoch, Pass(epoch, first=batches), None

    def copy(self) -> Progress:
        """Return the progress of a stream that begins where this one is."""
        return replace(self, started=None)
