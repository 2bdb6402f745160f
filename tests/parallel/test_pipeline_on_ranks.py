"""`kr.Pipeline` on two ranks: each gets the predictions of all rows, those of what was saved."""

import numpy as np
import pipeline_cases
import pytest

import kerasrec as kr


@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
def test_every_rank_has_what_one_process_loads(horovod_ranks, tmp_path):
    first, second = horovod_ranks.run(pipeline_cases.everything, tmp_path).returned
    assert first["history"] == second["history"]
    assert list(first["history"]) == ["auc", "loss", "val_auc", "val_loss"]
    held_out = pipeline_cases.make_frame(50, seed=1)
    alone = kr.load(tmp_path / "pipeline")
    for found in (first, second):
        np.testing.assert_allclose(found["predicted"], alone.predict(held_out), rtol=1e-5)
        np.testing.assert_allclose(found["one row"], found["predicted"][:1], rtol=1e-5)
        assert found["nothing"].shape == (0, 1)
        assert found["evaluated"] == pytest.approx(alone.evaluate(held_out), abs=1e-5)
        assert found["all"] == 203
        assert found["iterations"] == 3 * 7  # epochs of 101 or 102 rows in batches of 16
    assert (first["own"], second["own"]) == (101, 102)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["pipeline"]
