"""Work in threads: every item once, in order, and an error is raised where the items are taken."""

import threading
import time

import pytest

from kerasrec.data.threads import side_by_side


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_equals_a_loop(count, threads):
    done = []

    def square(value):
        done.append(value)
        return value**2

    assert side_by_side(square, range(count), threads) == [value**2 for value in range(count)]
    assert sorted(done) == list(range(count))


def test_so_many_at_a_time():
    together = threading.Barrier(3)
    side_by_side(lambda _: together.wait(timeout=60), range(6), 3)


def test_first_items_error_is_raised_and_nothing_more_is_begun():
    second_has_failed = threading.Event()
    begun = []

    def work(item):
        begun.append(item)
        if item == 0:
            second_has_failed.wait(timeout=60)
            time.sleep(0.1)  # in which the second's thread could begin more
        else:
            second_has_failed.set()
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        side_by_side(work, range(50), 2)
    assert sorted(begun) == [0, 1]
