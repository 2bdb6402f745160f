"""Keras's files are replaced as a whole: a save that is killed or runs out of disk leaves the earlier file."""

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import save_job
from save_job import FORMS, MAKE

import kerasrec as kr

JOB = Path(save_job.__file__)


def values_of(kind, path):
    """The different numbers among the weights that a save left: one, where all are of one save."""
    model = MAKE[kind]()
    if path.name == "model.keras":
        assert zipfile.ZipFile(path).testzip() is None
    weights = path / "model.weights.h5" if path.is_dir() else path
    fill = np.float32(-1)
    save_job.fill(model, fill)
    model.load_weights(str(weights))
    return {float(value) for weight in model.get_weights() for value in np.unique(weight)}


@pytest.mark.parametrize("kind", list(MAKE))
@pytest.mark.parametrize("form", list(FORMS))
def test_a_save_replaces_an_earlier_one(kind, form, tmp_path):
    model = MAKE[kind]()
    for value in (1, 2):
        save_job.fill(model, value)
        FORMS[form](model, str(tmp_path / form))
        names = {name for name in os.listdir(tmp_path) if name != form}
        if form == "shards.weights.json":
            assert len(names) in (2, 3)  # one shard or two, and the empty one that Keras opens first
            assert "shards_00000.weights.h5" in names
        else:
            assert not names
    assert values_of(kind, tmp_path / form) == {2}
    if form in ("model.keras", "folder"):
        x = np.ones((3, 4), "float32") if kind == "own" else {"user": np.arange(3), "age": np.ones(3, "float32")}
        loaded = keras.saving.load_model(str(tmp_path / form))
        assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_shards_replace_what_keras_wrote(tmp_path):
    """Keras's own first shard has weights, under the name that it opens first."""
    model, path = save_job.own(), tmp_path / "shards.weights.json"
    save_job.fill(model, 1)
    model.save_weights(str(path), max_shard_size=3.2e-4)
    (tmp_path / "shards_00009.weights.h5").write_text("a file of the user's, in no index")
    save_job.fill(model, 2)
    kr.save_weights(model, path, max_shard_size=3.2e-4)
    assert values_of("own", path) == {2}
    assert (tmp_path / "shards_00009.weights.h5").exists()
    assert len(list(tmp_path.iterdir())) == 5


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(JOB), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def check_killed(folder, seconds):
    job = start("kill", folder, seconds)
    said, errors = job.communicate(timeout=120)
    assert (job.returncode, said) == (-9, "saved\n"), errors[-3000:]
    for kind in MAKE:
        for form in FORMS:
            found = values_of(kind, folder / kind / form)
            assert len(found) == 1, (kind, form, seconds, found)
            assert found >= {1} or max(found) > 1


@pytest.mark.slow
def test_a_save_that_is_killed_leaves_one_that_is_whole(tmp_path):
    check_killed(tmp_path, random.Random(0).uniform(0.1, 1))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(13))
def test_saves_that_are_killed_leave_ones_that_are_whole(seed, tmp_path):
    check_killed(tmp_path, random.Random(seed).uniform(0, 2))


@pytest.fixture(params=["a full disk", "a file that may not grow"])
def limited(request, tmp_path):
    """A folder, and how large a file may get there: 0 where the disk itself is small."""
    if request.param == "a file that may not grow":
        yield tmp_path, 100_000
        return
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)], capture_output=True)
    if mount.returncode:
        pytest.skip(f"cannot mount a small disk: {mount.stderr.decode().strip()}")
    yield place, 0
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_save_without_room_leaves_what_was_there(limited, tmp_path):
    folder, limit = limited
    job = start("full", folder, limit)
    said, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors[-3000:]
    lines = said.splitlines()
    assert len(lines) == len(MAKE) * len(FORMS)
    assert not [line for line in lines if line.endswith("saved")], said
    for kind in MAKE:
        for form in FORMS:
            place = tmp_path / f"{kind}-{form}"
            line = next(line for line in lines if line.startswith(f"{kind} {form}: "))
            assert f"cannot write {folder / place.name / form}: " in line
            assert line.endswith("what was there before is unchanged"), line
            assert values_of(kind, place / form) == {1}
            left = {path.name for path in place.rglob("*") if path.is_file()}
            assert not [name for name in left if "partial" in name]


def test_what_is_not_a_saved_model_is_not_replaced(tmp_path):
    model = save_job.own()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="contains 'letter.txt', which is not a file that is written there"):
        kr.save_model(model, tmp_path / "home", zipped=False)
    (tmp_path / "x.keras").mkdir()
    with pytest.raises(FileExistsError, match="is a folder"):
        kr.save_model(model, tmp_path / "x.keras")
    kr.save_model(model, tmp_path / "model", zipped=False)
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="contains 'notes.txt'"):
        kr.save_model(model, tmp_path / "model", zipped=False)
    with pytest.raises(ValueError, match="keras"):
        kr.save_model(model, tmp_path / "model.pt")
    assert sorted(os.listdir(tmp_path)) == ["home", "model", "x.keras"]


def test_keras_asks_before_it_replaces(tmp_path, monkeypatch):
    path = tmp_path / "model.weights.h5"
    model = save_job.own()
    save_job.fill(model, 1)
    kr.save_weights(model, path, overwrite=False)
    save_job.fill(model, 2)
    for answers, found in (("n", 1), ("y", 2)):
        given = iter(["what?", answers])
        monkeypatch.setattr("builtins.input", lambda question, given=given: next(given))
        kr.save_weights(model, path, overwrite=False)
        assert values_of("own", path) == {found}

    def nobody(question):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        kr.save_weights(model, path, overwrite=False)


def test_the_old_format_of_our_models_is_refused(tmp_path):
    with pytest.raises(ValueError, match="save as .keras"):
        MAKE["DLRM"]().save(tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())
