"""The ranks that tests share: what goes wrong on one of them fails the test, and the next test gets new ones."""

from importlib.util import find_spec

import failing_cases
import pytest
import ranks
from ranks import KeptRanks

pytestmark = [
    pytest.mark.alone,
    pytest.mark.nightly,
    pytest.mark.skipif(find_spec("horovod") is None, reason="no Horovod"),
]


@pytest.fixture
def kept():
    kept = KeptRanks()
    yield kept
    kept.keep_only(None)


def test_ranks_are_kept_while_as_many_are_wanted(kept):
    first = kept.of(2).run(failing_cases.everyone)
    assert len(set(first.returned[0])) == 2
    assert sorted(line for line in first.output.splitlines() if "here is" in line) == [
        "[0]<stdout>:here is 0",
        "[1]<stdout>:here is 1",
    ]
    assert kept.of(2).run(failing_cases.everyone).returned == first.returned
    assert len(kept.of(1).run(failing_cases.everyone).returned[0]) == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (failing_cases.rank_1_raises, "ValueError: the disk is full"),
        (failing_cases.rank_1_hangs, "rank 1 gave no answer"),
        (failing_cases.rank_1_is_killed, "rank 1 ended"),
    ],
)
def test_what_goes_wrong_fails_the_test_and_ends_the_ranks(kept, monkeypatch, function, message):
    monkeypatch.setattr(ranks, "GRACE", 2)
    broken = kept.of(2)
    with pytest.raises(AssertionError, match=message):
        broken.run(function, limit=10)
    assert not broken.alive
    assert kept.of(2).run(failing_cases.everyone).returned
