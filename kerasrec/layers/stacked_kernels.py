"""Initial values of several matrices that are one variable."""

from __future__ import annotations

import keras


def glorot_of_each(count: int) -> keras.initializers.Initializer:
    """Return an initializer of variables `(count, rows, columns)` that draws each matrix as Glorot's uniform does.

    `"glorot_uniform"` itself takes such a variable for a convolution's, and makes it `sqrt(count)` times smaller.
    """
    return keras.initializers.VarianceScaling(scale=count, mode="fan_avg", distribution="uniform")
