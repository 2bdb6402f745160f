"""One training on several ranks: rank 0 looks at the data and writes; the others wait, and end if it fails."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kerasrec.cli.errors import one_line, shown_in_one_line
from kerasrec.cli.import_tensorflow import import_tensorflow
from kerasrec.parallel import comm
from kerasrec.parallel.comm.uncaught_error import end_rank

T = TypeVar("T")
_STALL_SECONDS = "HOROVOD_STALL_CHECK_TIME_SECONDS"


class Job:
    """The ranks of this process's job.

    Attributes:
        rank, size: this process's number, and how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.size = comm.rank(), comm.size()
        self.failure: BaseException | None = None

    def on_rank_0(self, step: Callable[[], T]) -> T:
        """Run a step on rank 0 alone, and return its result there; the other ranks wait, and get None.

        Raises:
            SystemExit: on the other ranks, if the step fails on rank 0, which raises the error.
        """
        if self.size == 1:
            return step()
        result: Any = None
        if self.rank == 0:
            try:
                result = step()
            except BaseException as error:
                self.failure = error
        failed = comm.gather_objects(self.failure is not None)[0]
        if self.failure is not None:
            raise self.failure
        if failed:
            raise SystemExit(1)
        return result

    def share(self, text: str | None) -> str:
        """Return rank 0's text on every rank."""
        return str(comm.gather_objects(text)[0])


@contextmanager
def one_job() -> Iterator[Job]:
    """Yield this process's job; where several ranks run and one raises, end it so that the launcher ends all."""
    if comm.launched():
        os.environ.setdefault(_STALL_SECONDS, "86400")  # ranks wait while rank 0 makes features
        import_tensorflow()
    job = Job()
    try:
        yield job
    except BaseException as error:
        if job.size == 1 or error is job.failure or isinstance(error, SystemExit):
            raise
        end_rank(job.rank, job.size, _show, type(error), error, error.__traceback__)


def _show(kind: type[BaseException], error: BaseException, where: Any) -> None:
    if shown_in_one_line(error):
        sys.stderr.write(f"error: {one_line(error)}\n")
    else:
        traceback.print_exception(kind, error, where)
