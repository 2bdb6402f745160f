"""Raw rows transformed for a model, in memory or in a folder, and the loaders of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import polars as pl

from kerasrec.data.loader import Loader
from kerasrec.etl.sources.source import Source
from kerasrec.etl.workflow import Workflow
from kerasrec.models.trainer import SchemaTrainer
from kerasrec.parallel import comm
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.schema import Schema
from kerasrec.serving.reads import FeatureRead, features_read


@dataclass(frozen=True)
class Features:
    """Transformed rows: in memory, or in the folder that `Dataset.to_parquet` wrote."""

    rows: pl.DataFrame | Path
    schema: Schema

    def loader(self, model: keras.Model, batch_size: int | None = None, **arguments: Any) -> Loader:
        """Return a loader of what a model reads; `arguments` are further ones of `kr.Loader`."""
        reads = reads_of(model, self.schema)
        ragged = keras.backend.backend() == "tensorflow"
        if reads is not None:
            arguments["columns"] = [read.column.name for read in reads]
            ragged = ragged and all(read.ragged for read in reads if read.column.is_list)
        if isinstance(model, SchemaTrainer):
            arguments.setdefault("targets", list(model.targets))
        lists: Any = "ragged" if ragged else "padded"
        return Loader(self.rows, batch_size, schema=self.schema, lists=lists, **arguments)


def reads_of(model: keras.Model, schema: Schema) -> list[FeatureRead] | None:
    """Return the features that a model reads, checked against a workflow's; None where it does not tell them."""
    if isinstance(model, SchemaTrainer) or isinstance(getattr(model, "input", None), Mapping):
        return features_read(model, schema)
    return None


@contextmanager
def transformed(
    workflow: Workflow, sources: Mapping[str, Source], folder: str | os.PathLike[str] | None = None
) -> Iterator[dict[str, Features]]:
    """Yield the features and targets of several sources by name.

    Those of frames are in memory. Those of files, of lazy frames, and of all data if there are several ranks, are
    in folders which rank 0 writes; they are removed when the block ends, unless they are in `folder`.

    Raises:
        FileExistsError: `folder` has them already.
        FileNotFoundError: another rank does not see what rank 0 wrote.
    """
    schema = workflow.output_schema
    in_memory = all(source.rows is not None and not source.files for source in sources.values())
    if in_memory and folder is None and comm.size() == 1:
        yield {name: Features(workflow.transform(rows).collect(), schema) for name, rows in sources.items()}
        return
    with ExitStack() as stack:

        def write() -> str:
            if comm.rank():
                return ""
            path = Path(tempfile.mkdtemp(prefix="kerasrec-")) if folder is None else Path(folder)
            if folder is None:
                stack.callback(shutil.rmtree, path, ignore_errors=True)
            for name, rows in sources.items():
                workflow.transform(rows).to_parquet(path / name)
            return str(path.absolute())

        path = Path(comm.gather_objects(raise_on_all(write))[0])
        raise_on_all(lambda: _check_visible(path))
        yield {name: Features(path / name, schema) for name in sources}
        comm.barrier()  # before rank 0 removes them


def _check_visible(path: Path) -> None:
    if not path.is_dir():
        raise FileNotFoundError(
            f"rank {comm.rank()} does not see {path}, where rank 0 wrote the features; pass features=, a folder "
            "that all ranks see"
        )
