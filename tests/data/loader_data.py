"""Datasets for the loader's tests: Parquet and schema written by hand, without the parts not tested here."""

import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.schema import Column, Hotness, Schema

CARDINALITY = 50


def make_table(rows: int, *, seed: int = 0, longest: int = 4) -> pa.Table:
    """`row` tells which row it is; every other column is a function of it and the seed."""
    rng = np.random.default_rng(seed)
    tags = [rng.integers(1, CARDINALITY, rng.integers(0, longest + 1)).astype("int32") for _ in range(rows)]
    return pa.table(
        {
            "row": pa.array(np.arange(rows), pa.int64()),
            "user": pa.array(rng.integers(0, CARDINALITY, rows), pa.int32()),
            "age": pa.array(rng.normal(size=rows), pa.float32()),
            "tags": pa.array(tags, pa.list_(pa.int32())),
            "clicked": pa.array(rng.integers(0, 2, rows), pa.float32()),
        }
    )


def make_schema(longest: int = 4) -> Schema:
    return Schema(
        [
            Column("row", "int64", ("continuous",)),
            Column("user", "int32", ("categorical",), cardinality=CARDINALITY, table="user"),
            Column("age", "float32", ("continuous",)),
            Column(
                "tags",
                "int32",
                ("categorical", "list"),
                cardinality=CARDINALITY,
                table="tags",
                hotness=Hotness(0, longest / 2, longest),
            ),
            Column("clicked", "float32", ("target", "binary")),
        ]
    )


def write(
    folder: Path,
    table: pa.Table,
    schema: Schema | None = None,
    *,
    files: int = 1,
    row_group_rows: int = 100,
    **how,
) -> Path:
    """Write the table in file order over `files` files of about equal size, and the schema beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, table.num_rows, files + 1).astype(int)
    for index, (start, stop) in enumerate(pairwise(bounds)):
        part = table.slice(start, stop - start)
        pq.write_table(part, folder / f"part-{index:05d}.parquet", row_group_size=row_group_rows, **how)
    (make_schema() if schema is None else schema).save(folder)
    return folder


def rows_of(features, target) -> list[tuple]:
    """A batch as one tuple a row: row, user, age, tags, clicked. Padded tags lose their padding."""
    tags = features["tags"]
    if hasattr(tags, "to_list"):
        tags = tags.to_list()
    else:
        tags = [[int(tag) for tag in row if tag] for row in np.asarray(tags)]
    columns = [np.asarray(features[name]).tolist() for name in ("row", "user", "age")]
    return [
        (row, user, age, tuple(tag), label)
        for row, user, age, tag, label in zip(*columns, tags, np.asarray(target)[:, 0].tolist(), strict=True)
    ]


def rows_on_disk(folder: Path) -> list[tuple]:
    """The same of the whole dataset, read by pyarrow in one go and in file order."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    columns = pa.concat_tables(tables).to_pydict()
    columns["tags"] = [tuple(tags or ()) for tags in columns["tags"]]
    return list(zip(*(columns[name] for name in ("row", "user", "age", "tags", "clicked")), strict=True))


def threads():
    """The loader's, that are still there."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("kerasrec")]
