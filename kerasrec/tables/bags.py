"""Lists of ids whose vectors are combined, in the one form that lookups and the exchange take."""

from __future__ import annotations

from typing import NamedTuple

from kerasrec.typing import Tensor


class Bags(NamedTuple):
    """The ids of a feature, one bag after another; the vectors of a bag become one.

    Args:
        ids: (n,) int32 or int64. Bag b is `ids[row_splits[b]:row_splits[b + 1]]`.
        row_splits: (bags + 1,) int64; None where each bag has `hotness` ids.
        weights: (n,), the factor of each id's vector in the sum of its bag; None is 1.
        hotness: the number of ids per bag where there are no `row_splits`; a scalar tensor where it is known only
            when a graph runs.
        padded: whether id 0 stands for no id.
    """

    ids: Tensor
    row_splits: Tensor | None = None
    weights: Tensor | None = None
    hotness: int | Tensor = 1
    padded: bool = False

    @property
    def lengths(self) -> Tensor:
        """The number of ids in each bag, (bags,) int64, where there are `row_splits`."""
        splits: Tensor = self.row_splits
        return splits[1:] - splits[:-1]

    @property
    def one_per_bag(self) -> bool:
        """Whether each bag is one id."""
        return self.row_splits is None and not self.padded

    @property
    def single(self) -> bool:
        """Whether each bag is one id without a weight, so that its vector is the result as it is."""
        return self.one_per_bag and self.weights is None
