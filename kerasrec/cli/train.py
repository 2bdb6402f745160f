"""`kerasrec train`: from raw rows of a user's table to a saved model. TensorFlow is imported late."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from kerasrec.cli.column_messages import warn
from kerasrec.cli.config import ColumnSteps
from kerasrec.cli.console import make_console
from kerasrec.cli.feature_files import count_rows, write_features
from kerasrec.cli.file_names import FEATURES, FILES, WORKFLOW
from kerasrec.cli.inspection import Inspection, check_out, inspect_data
from kerasrec.cli.options import TrainOptions
from kerasrec.cli.preconditions import check_backend, check_classes, few_rows
from kerasrec.cli.ranks import Job, one_job
from kerasrec.cli.rows import HELD_OUT, STOP, TRAIN
from kerasrec.cli.workflow import make_workflow
from kerasrec.files import write_aside


def run_train(options: TrainOptions, columns: Mapping[str, ColumnSteps] | None = None) -> None:
    """Train and save a model; whatever can be wrong with the options is found before training.

    On several ranks rank 0 looks at the data, makes features, prints and writes; all train.

    Args:
        options: the command's; see `kerasrec train --help`.
        columns: roles and steps of columns, from a config file.
    """
    with one_job() as job:
        console = make_console(quiet=job.rank > 0)
        inspection = job.on_rank_0(lambda: _inspect(options, columns or {}, console))
        check_backend("--export" if options.export else None)
        from kerasrec.cli.model_choice import choose_model, choose_optimizer
        from kerasrec.cli.training_run import TrainingRun

        model = choose_model(options.model, options.set or (), options.embedding_dim)
        optimizer = choose_optimizer(options.optimizer, options.learning_rate)
        with _new_folder(options, job) as folder:
            started = time.perf_counter()
            rate = job.on_rank_0(lambda: _make_features(options, inspection, folder, console))
            seconds = time.perf_counter() - started
            TrainingRun(options, inspection, job, folder, console, seconds, rate).run(model, optimizer)


def _inspect(options: TrainOptions, columns: Mapping[str, ColumnSteps], console: Console) -> Inspection:
    check_out(options)
    return inspect_data(options, columns, console)


@contextmanager
def _new_folder(options: TrainOptions, job: Job) -> Iterator[Path]:
    """Yield the folder to write the run to, the same on every rank; rank 0 gives it its name at the end."""
    with ExitStack() as stack:

        def enter() -> str:
            folder = stack.enter_context(write_aside(options.out, overwrite=options.overwrite, files=FILES))
            folder.mkdir()
            return str(folder)

        yield Path(job.share(job.on_rank_0(enter)))


def _make_features(options: TrainOptions, inspection: Inspection, folder: Path, console: Console) -> float | None:
    """Write the workflow and the features of all rows to `folder`; return the rate in rows per second."""
    workflow, parts = make_workflow(inspection.resolved), inspection.parts
    flag = "--valid" if options.valid else None
    features = folder / FEATURES
    rate = write_features(workflow, parts[TRAIN], parts[HELD_OUT], features, console, flag, parts.get(STOP))
    check_classes(features)
    if warning := few_rows(count_rows(features / HELD_OUT)):
        warn(console, warning)
    workflow.save(folder / WORKFLOW)
    return rate
