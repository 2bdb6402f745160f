"""Damaged files of every kind: refused by an error that names the file, or read as the same numbers."""

import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.parquet import footers
from kerasrec.schema import Schema, SchemaError

ROWS = 900
ERRORS = (SchemaError, ValueError, OSError)


def make_frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    tags = [[str(tag) for tag in rng.integers(0, 20, rng.integers(0, 4))] for _ in range(ROWS)]
    columns = {"user": rng.integers(0, 50, ROWS).astype(str), "item": rng.integers(0, 99, ROWS)}
    return pl.DataFrame({**columns, "x": rng.random(ROWS), "tags": tags, "y": rng.integers(0, 2, ROWS)})


def make_workflow(source: Any) -> etl.Workflow:
    ids = ["user", "item", "tags"] >> etl.Categorify()
    return etl.Workflow(ids + (["x"] >> etl.Normalize()) + (["y"] >> etl.Target())).fit(source, progress=False)


FRAME = make_frame()


# ---- what is damaged: files are written, one of them is damaged, and all are read again ----
def dataset(folder: Path) -> tuple[list[Path], Callable[[], Any]]:
    make_workflow(FRAME).transform(FRAME).to_parquet(folder, row_group_rows=300, rows_per_file=600)

    def read() -> Any:
        batches = kr.Loader(folder, 100, lists="offsets")
        return [np.array(part) for batch in batches for part in keras.tree.flatten(batch)]

    return sorted(folder.glob("*.parquet")), read


def raw_parquet(version: str) -> Callable[[Path], tuple[list[Path], Callable[[], Any]]]:
    def make(folder: Path) -> tuple[list[Path], Callable[[], Any]]:
        """Pages as other writers write them; but sealed, as Arrow ends the process at some damaged footers."""
        folder.mkdir()
        for name, codec in (("a", "snappy"), ("b", "zstd")):
            file = folder / f"{name}.parquet"
            options = {"compression": codec, "data_page_version": version, "row_group_size": 300}
            pq.write_table(FRAME.to_arrow(), file, write_page_checksum=True, **options)
            footers.seal(file)
        files = sorted(folder.iterdir())
        workflow = make_workflow(files)
        read = lambda: [make_workflow(files).transform(FRAME).collect(), workflow.transform(files).collect()]  # noqa: E731
        return files, read

    return make


def schema_file(folder: Path) -> tuple[list[Path], Callable[[], Any]]:
    make_workflow(FRAME).output_schema.save(folder)
    return [folder / "schema.json"], lambda: repr(Schema.load(folder).to_dict())


def workflow_folder(folder: Path) -> tuple[list[Path], Callable[[], Any]]:
    make_workflow(FRAME).save(folder)

    def read() -> Any:
        workflow = etl.Workflow.load(folder)
        return [workflow.transform(FRAME).collect(), workflow.vocabulary("user"), repr(workflow.input_schema)]

    return sorted(folder.iterdir()), read


def make_model(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = {"item": keras.Input((), dtype="int32", name="item")}
    feature = {"item": kr.FeatureConfig("item", kr.TableConfig("item", 10, 4))}
    hidden = keras.layers.Dropout(0.1)(kr.layers.DistributedEmbedding(feature, seed=seed)(inputs)["item"])
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(kr.optimizers.Adagrad(0.1), "mse")
    model.fit({"item": np.arange(10)}, np.ones((10, 1)), verbose=0)
    return model


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(each)) for each in [*model.variables, *model.optimizer.variables]]


def checkpoint(folder: Path) -> tuple[list[Path], Callable[[], Any]]:
    model, other = make_model(1), make_model(2)
    kr.parallel.save(model, folder)
    before = values(other)

    def read() -> Any:
        for variable, value in zip([*other.variables, *other.optimizer.variables], before, strict=True):
            variable.assign(value)
        try:
            kr.parallel.restore(other, folder)
        except ERRORS:
            assert all(map(np.array_equal, values(other), before)), "the model changed before it was refused"
            raise
        return values(other)

    return sorted(path for path in folder.rglob("*") if path.is_file()), read


def keras_file(folder: Path) -> tuple[list[Path], Callable[[], Any]]:
    folder.mkdir()
    make_model(1).save(folder / "model.keras")

    def read() -> Any:  # without the seeds of random layers, which Keras draws anew
        model = kr.load_model(folder / "model.keras")
        return [
            np.array(keras.ops.convert_to_numpy(each)) for each in [*model.weights, *model.optimizer.variables]
        ]

    return [folder / "model.keras"], read


KINDS = {
    "dataset": dataset,
    "parquet 1.0": raw_parquet("1.0"),
    "parquet 2.0": raw_parquet("2.0"),
    "schema.json": schema_file,
    "workflow": workflow_folder,
    "checkpoint": checkpoint,
    "model.keras": keras_file,
}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A bit, a byte, 16 random bytes or 64 zeros in any place, or nothing from there on; near the end more often,
    where a few bytes say what all the others mean."""
    at = draw.randrange(len(content))
    if draw.random() < 0.3:
        at = draw.randrange(max(0, len(content) - 2000), len(content))
    new = bytearray(content)
    match draw.choice(["bit", "byte", "noise", "zeros", "cut"]):
        case "bit":
            new[at] ^= 1 << draw.randrange(8)
        case "byte":
            new[at] = draw.randrange(256)
        case "noise":
            new[at : at + 16] = draw.randbytes(len(new[at : at + 16]))
        case "zeros":
            new[at : at + 64] = bytes(len(new[at : at + 64]))
        case "cut":
            del new[at:]
    return bytes(new)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, pl.DataFrame):
        return one.equals(other)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def outcome(read: Callable[[], Any], expected: Any, file: Path) -> str:
    try:
        return "the same" if same(expected, read()) else "OTHER NUMBERS"
    except ERRORS as error:
        return "refused" if file.name in str(error) else f"NOT NAMED: {type(error).__name__}: {error}"
    except BaseException as error:
        return f"OTHER ERROR: {type(error).__name__}: {error}"


@contextmanager
def changed(file: Path, content: bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def try_out(kind: str, folder: Path, times: int, seed: int) -> Counter[str]:
    files, read = KINDS[kind](folder)
    expected, draw = read(), random.Random(seed)
    found: Counter[str] = Counter()
    for number in range(times):
        file = draw.choice(files)
        content = damaged(file.read_bytes(), draw)
        with changed(file, content):
            told = outcome(read, expected, file)
        found[told] += 1
        assert told in ("refused", "the same"), f"{kind}, damage {number} of seed {seed}: {file}: {told}"
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_by_name_or_changes_nothing(kind: str, tmp_path: Path) -> None:
    found = try_out(kind, tmp_path / "it", 25, seed=0)
    assert found["refused"] > 15


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_much_damage(kind: str, seed: int, tmp_path: Path) -> None:
    times = 100 if kind in ("checkpoint", "model.keras") else 500
    assert try_out(kind, tmp_path / "it", times, seed=seed + 1)["refused"] > times / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["a folder", "a named pipe", "a socket", "a device", "empty"])
def test_what_is_not_a_file_is_refused_and_not_waited_for(kind: str, what: str, tmp_path: Path) -> None:
    files, read = KINDS[kind](tmp_path / "it")
    file = files[0]
    file.unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        match what:
            case "a folder":
                file.mkdir()
            case "a named pipe":
                os.mkfifo(file)
            case "a socket":
                folder = os.open(file.parent, os.O_RDONLY)
                bound.bind(f"/proc/self/fd/{folder}/{file.name}")  # the whole path may be too long for one
                os.close(folder)
            case "a device":
                file.symlink_to("/dev/zero")
            case "empty":
                file.touch()
        told = outcome(read, None, file)
    assert told == "refused"


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_csv_file_that_is_cut_within_a_row_is_refused(at: float, tmp_path: Path) -> None:
    """One that is cut at the end of a row, or in its last field, is a shorter CSV file: nobody can tell."""
    file = tmp_path / "raw.csv"
    FRAME.drop("tags").write_csv(file)
    text = file.read_text()
    end = text.index("\n", int(at * len(text)))
    start = text.rindex("\n", 0, end) + 1
    file.write_text(text[: text.index(",", start) + 1])
    workflow = etl.Workflow((["user"] >> etl.Categorify()) + (["x"] >> etl.Normalize()))
    with pytest.raises(SchemaError, match=r"raw.csv: row \d+: expected 4 fields"):
        workflow.fit(file)


def test_verification_can_be_left_out(tmp_path: Path) -> None:
    """Pages that are damaged where no decompression sees it are read, as the user asked for."""
    frame = pl.DataFrame({"x": np.arange(1000.0), "y": [0, 1] * 500})
    file = tmp_path / "raw.parquet"
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(frame.to_arrow(), file, **options)
    workflow = etl.Workflow((["x"] >> etl.FillMissing()) + (["y"] >> etl.Target()))
    content = file.read_bytes()
    at = content.index(np.float64(500).tobytes())
    with changed(file, content[:at] + np.float64(501).tobytes() + content[at + 8 :]):
        with pytest.raises(
            SchemaError, match=r"raw.parquet: the file is damaged: column 'x' in row group 0: the CRC-32 of a page"
        ):
            workflow.fit(file)
        workflow.fit(file, verify=False)
        with pytest.raises(SchemaError, match="raw.parquet: the file is damaged"):
            workflow.transform(file).collect()
        assert workflow.transform(file, verify=False).collect()["x"][500] == 501
        assert workflow.transform(file, verify=False).collect().height == 1000
    data = workflow.fit(file).transform(file).to_parquet(tmp_path / "data")
    part = data / "part-00000.parquet"
    content = part.read_bytes()
    at = content.index(np.float32(500).tobytes())
    with changed(part, content[:at] + np.float32(501).tobytes() + content[at + 4 :]):
        with pytest.raises(OSError, match=r"part-00000.parquet: cannot be read: .*CRC"):
            list(kr.Loader(data, 1000))
        ((features, _),) = kr.Loader(data, 1000, verify=False)
        assert sorted(features["x"])[500:502] == [501, 501]


def test_files_of_the_release_before_have_no_checksums_and_are_read(tmp_path: Path) -> None:
    pq.write_table(pl.DataFrame({"x": [1.0, 2.0], "y": [0.0, 1.0]}).to_arrow(), tmp_path / "part-00000.parquet")
    text = '{"kerasrec_schema": 1, "columns": [{"name": "x", "dtype": "float64"}]}'
    (tmp_path / "schema.json").write_text(text)
    ((features),) = kr.Loader(tmp_path, 2)
    assert features["x"].tolist() == [1.0, 2.0]
