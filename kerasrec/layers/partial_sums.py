"""Lookups of lists whose vectors are added up where they lie: what is asked for where ranks exchange sums.

TensorFlow only.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kerasrec.layers import lookup
from kerasrec.parallel.exchange.exchange import Bags


def bags_of(wanted: lookup.Wanted) -> Bags:
    """All ids of a stack's features: a list is a bag, a single or a weighted id one by itself."""
    bags, count = [], 0
    for name, flat in wanted.flat.items():
        ids = wanted.ids[name]
        bag = tf.cast(ids.value_rowids(), tf.int32) if _is_bag(wanted, name) else tf.range(tf.shape(flat)[0])
        bags.append(bag + count)
        count += _bags(wanted, name)
    return Bags(lookup.rows_of(wanted), tf.concat(bags, 0), count)


def features_of(sums: Any, wanted: lookup.Wanted, dtype: str) -> dict[str, Any]:
    """The sums of `bags_of`'s bags, (bags, dim) -> the combined vectors of each feature."""
    sizes = [_bags(wanted, name) for name in wanted.features]
    found = {}
    for name, part in zip(wanted.features, tf.split(sums, sizes, num=len(sizes)), strict=True):
        ids, combiner = wanted.ids[name], wanted.features[name].table.combiner
        if not _is_bag(wanted, name):
            found[name] = lookup.weighted(part, ids, wanted.shares.get(name), combiner)
        elif combiner == "sum":
            found[name] = part
        else:
            length = tf.cast(ids.row_lengths(), part.dtype)[:, None]
            found[name] = tf.math.divide_no_nan(part, length if combiner == "mean" else tf.sqrt(length))
        found[name] = tf.cast(found[name], dtype)
    return found


def _bags(wanted: lookup.Wanted, name: str) -> Any:
    """How many bags a feature has."""
    return tf.cast(wanted.ids[name].nrows(), tf.int32) if _is_bag(wanted, name) else tf.shape(wanted.flat[name])[0]


def _is_bag(wanted: lookup.Wanted, name: str) -> bool:
    """Whether a feature is lists without weights: these are ragged, as padding is no part of a sum."""
    return lookup.is_ragged(wanted.ids[name]) and name not in wanted.shares
