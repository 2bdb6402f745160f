"""`kerasrec plan`: where the tables of a schema would be placed, without a framework and without tables."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import typer

from kerasrec.cli.errors import CommandError
from kerasrec.cli.file_names import MODEL
from kerasrec.parallel.planner.planner import plan
from kerasrec.schema import Schema, SchemaError
from kerasrec.tables.byte_sizes import parse_bytes
from kerasrec.tables.from_schema import embedding_features


def run_plan(
    path: Path,
    ranks: int | None,
    memory: str,
    batch_size: int,
    optimizer: str,
    embedding_dim: int | None,
    bandwidth: str,
    wire_dtype: str,
) -> None:
    """Print the plan of the tables of a schema, or of a run's model; see `kerasrec plan --help`."""
    schema, width = _schema(path)
    features = embedding_features(schema, embedding_dim or width)
    if not features:
        raise CommandError(f"{path} has no categorical columns, so there are no embedding tables to place")
    planned = plan(
        features,
        ranks,
        memory,
        batch_size,
        bandwidth=parse_bytes(bandwidth, "bandwidth"),
        optimizer=optimizer,
        wire_dtype=wire_dtype,
    )
    guessed = [column for column in sorted(features) if features[column].table.lookup_cdf is None]
    typer.echo(str(planned))
    vectors = f"vectors sent as {wire_dtype}"
    typer.echo(f"\nFor {batch_size:,} rows per rank and step, {optimizer}, {bandwidth} per second, {vectors}.")
    if guessed:
        columns = ", ".join(guessed)
        typer.echo(f"Assumed to follow a power law, because the schema has no counts: {columns}")


def _schema(path: Path) -> tuple[Schema, int | None]:
    """Return a schema and the width of all embeddings; None for the width that the schema has for each.

    In the folder of a training run they are those of the model, otherwise `path` is a schema or a folder with one.

    Raises:
        FileNotFoundError: there is neither.
        SchemaError: the file is damaged, or its model was not built from a schema.
    """
    model = path / MODEL
    if not model.exists():
        return Schema.load(path), None
    try:
        with ZipFile(model) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        return Schema.from_dict(config["schema"]), config.get("embedding_dim")
    except (BadZipFile, KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"{model}: no schema of a kr.model in it ({error}); pass a schema.json") from error
