"""Checkpoints from several ranks to several others."""

import checkpoint_cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from checkpoint_cases import SIZES, assert_equal, built, state, train
from hypothesis import given
from hypothesis import strategies as st
from ranks import Ranks

import kerasrec as kr
from kerasrec.parallel.checkpoint.reader import common
from kerasrec.tables import row_io


@pytest.fixture(autouse=True, scope="module")
def blocks():
    """Tables are cut into as many blocks as on the ranks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_io, "BLOCK_BYTES", checkpoint_cases.BLOCK_BYTES)
        yield


def same(placement):
    return dict.fromkeys(SIZES, placement)


MIXED = {"item": "hybrid", "tag": "column_wise", "tiny": "table_wise"}
ALONE = same("table_wise")
CASES = [
    {"optimizer": "adagrad", "placements": MIXED, "others": [same("row_wise"), same("column_wise")]},
    {"optimizer": "adam", "placements": same("row_wise"), "others": [same("replicated")]},
    {"optimizer": "rowwise_adagrad", "placements": same("hybrid"), "others": [same("table_wise")]},
    {
        "optimizer": "multi",
        "own": "adam",
        "dropout": 0,
        "placements": same("column_wise"),
        "others": [MIXED, same("replicated")],
    },
]


def check(cases, ranks, folder):
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        model = built(case, ALONE, seed=9)
        train(model, range(2))
        kr.parallel.save(model, place / "alone")
        np.savez(place / "alone.npz", **state(model))
    ranks.run(checkpoint_cases.run, cases, folder, limit=400)
    job = ranks.run_to_the_end(checkpoint_cases.killed, cases[0], folder)
    assert job.code not in (0, -9), job.output[-6000:]  # the last rank was killed
    for number, case in enumerate(cases):
        place = folder / str(number)
        model = built(case, ALONE, seed=11)
        kr.parallel.restore(model, place / "saved")
        assert_equal(dict(np.load(place / "at_save.npz")), state(model))
        if case.get("dropout") == 0:  # which falls otherwise on other ranks
            train(model, range(3, 5))
            assert_equal(dict(np.load(place / "after.npz")), state(model), rtol=1e-4, atol=1e-5)
    check_served(folder)
    check_moments(folder, ranks.size)
    # The save that was cut off left the checkpoint before it as it was, and perhaps some files.
    fresh = built(CASES[0], ALONE, seed=3)
    kept = built(CASES[0], ALONE, seed=4)
    kr.parallel.restore(kept, folder / "killed")
    for name in SIZES:
        np.testing.assert_array_equal(kept.tables.table(name), fresh.tables.table(name))
    kr.parallel.save(kept, folder / "killed", overwrite=True)
    assert len(list((folder / "killed").iterdir())) == 2


def check_moments(folder, ranks):
    """At whichever moment the job ended, there is the checkpoint before or the one after, whole."""
    before, after = (dict(np.load(folder / f"moment_{when}.npz")) for when in ("before", "after"))
    model = built(CASES[0], ALONE, seed=4)
    for rank in range(ranks):
        moments = sorted((folder / f"moments_{rank}").iterdir(), key=lambda moment: int(moment.name))
        assert len(moments) > 4
        whole = []
        for moment in moments:
            kr.parallel.restore(model, moment)
            found = state(model)
            whole.append(float(found["item/"].sum()) == float(after["item/"].sum()))
            wanted = after if whole[-1] else before
            assert_equal(wanted, {key: found[key] for key in wanted})
        assert whole == sorted(whole)
        assert not whole[0]
        assert whole[-1] == (rank == 0)  # who writes the manifest, and then clears away what was before


def check_served(folder):
    model = built(CASES[0], ALONE, seed=12)
    kr.parallel.restore(model, folder / "exported")
    inputs = {name: keras.Input((3,), name=name, dtype="int64") for name in SIZES}
    kr.serving.export(keras.Model(inputs, model(inputs)), folder / "served_alone")
    rng = np.random.default_rng(0)
    features = {}
    for name, (size, _) in SIZES.items():
        features[f"{name}__values"] = tf.constant(rng.integers(0, size, 60))
        features[f"{name}__offsets"] = tf.constant(np.arange(0, 61, 3))
    served = [tf.saved_model.load(str(folder / name)) for name in ("served", "served_alone")]
    many, one = (each.signatures["serving_default"](**features) for each in served)
    assert_equal({k: v.numpy() for k, v in one.items()}, {k: v.numpy() for k, v in many.items()})
    shapes = [sorted(tuple(v.shape) for v in each.variables_read) for each in served]
    assert shapes[0] == shapes[1]
    assert not (folder / "refused").exists()


@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
def test_ranks_save_and_restore_what_one_process_does(horovod_ranks, tmp_path):
    check([CASES[0], CASES[3]], horovod_ranks, tmp_path)


@pytest.mark.nightly
@pytest.mark.alone
def test_all_cases_and_from_many_ranks_to_others(tmp_path):
    before = []
    for size in (4, 2, 3):
        folder = tmp_path / str(size)
        folder.mkdir()
        cases = [
            {**case, "before": [str(earlier / str(number)) for earlier in before]}
            for number, case in enumerate(CASES)
        ]
        check(cases, Ranks(size), folder)
        before.append(folder)


ranges = st.builds(
    lambda start, length, step: range(start, start + length, step),
    st.integers(0, 20),
    st.integers(0, 60),
    st.integers(1, 9),
)


@given(ranges, ranges)
def test_common_numbers(one, other):
    assert list(common(one, other)) == sorted(set(one) & set(other))
