"""`kerasrec plan`: where the tables of a schema would live. It imports no framework and allocates no table."""

from __future__ import annotations

from pathlib import Path

import typer

from kerasrec.cli.errors import Refused
from kerasrec.parallel.planner.planner import parse_bytes, plan
from kerasrec.schema import Schema
from kerasrec.tables.from_schema import embedding_features


def run_plan(
    path: Path,
    ranks: int | None,
    memory: str,
    batch_size: int,
    optimizer: str,
    embedding_dim: int | None,
    bandwidth: str,
    wire: str,
) -> None:
    features = embedding_features(Schema.load(path), embedding_dim)
    if not features:
        raise Refused(f"{path} has no categorical columns, so there are no tables to place")
    planned = plan(
        features,
        ranks,
        memory,
        batch_size,
        bandwidth=parse_bytes(bandwidth),
        optimizer=optimizer,
        wire=wire,
    )
    guessed = [column for column in sorted(features) if features[column].table.head is None]
    typer.echo(str(planned))
    typer.echo(f"\nfor {batch_size:,} rows a rank and step, {optimizer}, {bandwidth} a second, {wire} vectors")
    if guessed:
        typer.echo(f"taken to follow a power law, as the schema has no counts: {', '.join(guessed)}")
