"""`RunningSum`: a sum over any number of rows, in two numbers of float32."""

from __future__ import annotations

import keras

from kerasrec.typing import Tensor


class RunningSum:
    """A sum of numbers that loses none of their digits, however many there are.

    A float32 stays at 16,777,216 when ones are added to it. What each addition rounds off is therefore kept in a
    second number, which every backend has, unlike float64. Ranks' sums can be added up.

    Source: [Knuth, The Art of Computer Programming, vol. 2](https://en.wikipedia.org/wiki/2Sum), section 4.2.2.
    """

    def __init__(self, metric: keras.metrics.Metric, name: str):
        self._total = metric.add_variable((), "zeros", "float32", name=name)
        self._lost = metric.add_variable((), "zeros", "float32", name=f"{name}_lost")

    def add(self, value: Tensor) -> None:
        before = self._total.value
        after = before + value
        added = after - before
        self._lost.assign(self._lost.value + ((before - (after - added)) + (value - added)))
        self._total.assign(after)

    @property
    def value(self) -> Tensor:
        return self._total.value + self._lost.value
