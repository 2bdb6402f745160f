"""Checkpoints from several ranks to several others: real ranks under horovodrun."""

import json
from pathlib import Path

import checkpoint_cases
import numpy as np
import pytest
from checkpoint_cases import SIZES, assert_equal, built, state, train
from hypothesis import given
from hypothesis import strategies as st
from launch import launch

import kerasrec as kr
from kerasrec.parallel import rows
from kerasrec.parallel.checkpoint import common


@pytest.fixture(autouse=True, scope="module")
def blocks():
    """What `checkpoint_cases` sets in ranks is no business of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK_BYTES", 512)
        yield


def same(placement):
    return dict.fromkeys(SIZES, placement)


MIXED = {"item": "hybrid", "tag": "column_wise", "tiny": "table_wise"}
ALONE = same("table_wise")
CASES = [
    {"optimizer": "adagrad", "placements": MIXED, "others": [same("row_wise"), same("column_wise")]},
    {"optimizer": "adam", "placements": same("row_wise"), "others": [same("replicated")]},
    {"optimizer": "rowwise_adagrad", "placements": same("hybrid"), "others": [same("table_wise")]},
    {"optimizer": "multi", "own": "adam", "placements": same("column_wise"), "others": [MIXED]},
]


def check(ranks, folder, limit):
    for number, case in enumerate(CASES):
        place = folder / str(number)
        place.mkdir()
        model = built(case, ALONE, seed=9)
        train(model, range(2))
        kr.parallel.save(place / "alone", model)
        np.savez(place / "alone.npz", **state(model))
    (folder / "cases.json").write_text(json.dumps(CASES))
    script = Path(checkpoint_cases.__file__)
    done = launch(ranks, script, str(folder / "cases.json"), str(folder), limit=limit)
    assert all(f"finished {rank}" in done.output for rank in range(ranks)), done.output[-6000:]
    assert done.code not in (0, -9)  # the last rank was killed
    for number, case in enumerate(CASES):
        place = folder / str(number)
        model = built(case, ALONE, seed=11)
        kr.parallel.restore(place / "saved", model)
        assert_equal(dict(np.load(place / "at_save.npz")), state(model))
    # The save that was cut off left the checkpoint before it as it was, and perhaps some files.
    fresh = built(CASES[0], ALONE, seed=3)
    kept = built(CASES[0], ALONE, seed=4)
    kr.parallel.restore(folder / "killed", kept)
    for name in SIZES:
        np.testing.assert_array_equal(kept.tables.table(name), fresh.tables.table(name))
    kr.parallel.save(folder / "killed", kept, overwrite=True)
    assert len(list((folder / "killed").iterdir())) == 2


def test_two_ranks(tmp_path):
    check(2, tmp_path, limit=200)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [3, 4])
def test_more_ranks(ranks, tmp_path):
    check(ranks, tmp_path, limit=400)


ranges = st.builds(
    lambda start, length, step: range(start, start + length, step),
    st.integers(0, 20),
    st.integers(0, 60),
    st.integers(1, 9),
)


@given(ranges, ranges)
def test_common_numbers(one, other):
    assert list(common(one, other)) == sorted(set(one) & set(other))
