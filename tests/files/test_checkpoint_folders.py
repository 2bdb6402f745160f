"""Checkpoints: who may save where, what is removed, names of files, manifests that are wrong."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasrec as kr
from kerasrec.files import lock
from kerasrec.files.leftovers import LOCK
from kerasrec.parallel.checkpoint import safetensors_io

ROOT = Path(__file__).parents[2]


def model_of(*tables: str, seed: int = 0) -> keras.Model:
    inputs = {
        f"input_{place}": keras.Input((), dtype="int32", name=f"input_{place}") for place in range(len(tables))
    }
    features = {
        name: kr.FeatureConfig(name, kr.TableConfig(table, 10, 4))
        for name, table in zip(inputs, tables, strict=True)
    }
    vectors = kr.layers.DistributedEmbedding(features, seed=seed)(inputs)
    model = keras.Model(
        inputs, keras.layers.Dense(1)(keras.layers.Concatenate()([*vectors.values(), *vectors.values()]))
    )
    model.compile(kr.optimizers.Adagrad(0.1), "mse")
    rows = {name: np.arange(10) for name in inputs}
    model.fit(rows, np.ones((10, 1)), verbose=0)
    return model


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(each)) for each in [*model.weights, *model.optimizer.variables]]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return model_of("item", "user")


@pytest.fixture
def saved(model: keras.Model, tmp_path: Path) -> Path:
    kr.parallel.save(model, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_a_second_saver_is_refused_and_the_first_is_not_disturbed(model, saved: Path) -> None:
    before = sorted(saved.rglob("*"))
    with lock(saved / LOCK, "here"), pytest.raises(FileExistsError, match=f"{saved}: another process is saving"):
        kr.parallel.save(model, saved, overwrite=True)
    assert sorted(saved.rglob("*")) == before
    kr.parallel.save(model, saved, overwrite=True)
    kr.parallel.restore(model, saved)
    assert len(list(saved.iterdir())) == 2


SAVER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_checkpoint_folders import keras, kr, model_of
model = model_of("item", "user")
for weight in model.weights:
    weight.assign(keras.ops.full(weight.shape, float(sys.argv[3])))
print("ready", flush=True)
sys.stdin.readline()
done = 0
for _ in range(30):
    try:
        kr.parallel.save(model, sys.argv[1], overwrite=True)
        done += 1
    except FileExistsError as error:
        assert "another process is saving" in str(error) and sys.argv[1] in str(error), error
print(done)
"""


@pytest.mark.slow
def test_two_savers_leave_one_whole_checkpoint(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path / "checkpoint"), str(Path(__file__).parent), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for seed in (1, 2)
    ]
    for saver in savers:
        assert saver.stdout is not None
        assert saver.stdout.readline() == "ready\n"
    for saver in savers:
        assert saver.stdin is not None
        saver.stdin.write("\n")
        saver.stdin.flush()
    done = [int(saver.communicate(timeout=300)[0]) for saver in savers]
    assert all(saver.returncode == 0 for saver in savers)
    assert sum(done) >= 30
    restored = model_of("item", "user")
    kr.parallel.restore(restored, tmp_path / "checkpoint")
    found = {float(number) for weight in restored.weights for number in np.ravel(weight)}
    assert found in ({1.0}, {2.0})
    assert len(list((tmp_path / "checkpoint").iterdir())) == 2


@pytest.mark.parametrize("text", ['{"name": "my app", "version": 3}', "[]", "not JSON", '{"format": 1}'])
def test_a_foreign_manifest_and_what_lies_beside_it_are_left_alone(model, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "save-1").mkdir(parents=True)
    (folder / "save-1" / "thesis.txt").write_text("years of work")
    (folder / "manifest.json").write_text(text)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=str(folder)):
            kr.parallel.save(model, folder, overwrite=overwrite)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_only_folders_that_saves_made_are_removed(model, saved: Path) -> None:
    (saved / "save-final").mkdir()
    (saved / "save-0123456789ab").mkdir()
    (saved / "save-0123456789ab" / "notes.txt").write_text("mine")
    (saved / "save-0123456789ac").mkdir()  # cut off
    (saved / "save-0123456789ac" / "item.safetensors").write_bytes(b"half")
    kr.parallel.save(model, saved, overwrite=True)
    names = {each.name for each in saved.iterdir()}
    assert {"save-final", "save-0123456789ab", "manifest.json"} <= names
    assert len(names) == 4
    kr.parallel.restore(model, saved)


def test_a_checkpoint_behind_a_link(model, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "run")
    kr.parallel.save(model, tmp_path / "link")
    kr.parallel.save(model, tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "run" / "manifest.json").exists()
    kr.parallel.restore(model, tmp_path / "link")


NAMES = [
    "x" * 300,
    "x" * 299 + "y",
    "é" * 100,
    "a/b",
    "..",
    ".",
    "a\\b",
    "A/b",
    "@dense",
    "a@0-of-2",
    "line\nbreak",
    "%2F",
    "*",
]


def test_tables_of_any_name(tmp_path: Path) -> None:
    model, other = model_of(*NAMES), model_of(*NAMES, seed=7)
    kr.parallel.save(model, tmp_path / "checkpoint")
    kr.parallel.restore(other, tmp_path / "checkpoint")
    assert_same(values(other), values(model))
    (folder,) = (tmp_path / "checkpoint").glob("save-*")
    files = [path.name for path in folder.iterdir()]
    assert len({name.lower() for name in files}) == len(files) == len(NAMES) + 1
    assert safetensors_io.file_stems(["item", "wide/one"]) == {"item": "item", "wide/one": "wide%2Fone"}
    assert (
        safetensors_io.file_stems(["a" * 400])["a" * 400] == safetensors_io.file_stems(["a" * 400, "b"])["a" * 400]
    )


def changes(facts: dict) -> list[tuple[str, dict]]:
    """Manifests with a value of another type, or that contradicts another one, in every place."""
    found = []

    def walk(value, place):
        for key in value if isinstance(value, dict) else range(len(value)):
            inside = value[key]
            for wrong in (None, -1, "x", 1.5, [], {}, [1, 2, 3, 4], True, "../../x"):
                if type(wrong) is type(inside) and wrong == inside:
                    continue
                changed = copy.deepcopy(facts)
                at = changed
                for step in place:
                    at = at[step]
                at[key] = wrong
                found.append((f"{[*place, key]} = {wrong!r}", changed))
            if isinstance(inside, dict | list):
                walk(inside, [*place, key])

    walk(facts, [])
    return found


def refusal(saved: Path, model: keras.Model) -> str:
    try:
        kr.parallel.restore(model, saved)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return "restored"


def test_any_wrong_manifest_is_refused_before_anything_changes(model, saved: Path) -> None:
    manifest = saved / "manifest.json"
    facts = json.loads(manifest.read_text())
    checksum = facts.pop("crc32")
    assert len(checksum) == 8
    before = values(model)
    harmless = ("['kerasrec']", "['keras']", "'optimizer']", "['tables'] = {}")
    for name, changed in changes(facts):
        manifest.write_text(json.dumps(changed))  # without a checksum, as earlier releases wrote it
        told = refusal(saved, model)
        assert str(saved) in told or any(each in name for each in harmless), f"{name}: {told}"
        manifest.write_text(json.dumps({**changed, "crc32": checksum}))  # as it was damaged
        with pytest.raises((ValueError, FileNotFoundError)):
            kr.parallel.restore(model, saved)
    assert_same(values(model), before)


def test_a_full_disk_says_what_was_needed(model, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    monkeypatch.setattr(safetensors_io, "flush_tree", full)
    with pytest.raises(
        OSError, match=rf"cannot write {saved}: No space left on device. \d+ of 640 bytes .* unchanged"
    ):
        kr.parallel.save(model, saved, overwrite=True)
    assert {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()} == before
    with pytest.raises(OSError, match="nothing is left of it"):
        kr.parallel.save(model, saved.parent / "new")
    assert not (saved.parent / "new").exists()
