"""Updates of a few rows of a large variable, the one thing that Keras's optimizers do not do.

TensorFlow gives the gradient of a table lookup as `tf.IndexedSlices`: a value for each looked-up row. Keras turns
that into a gradient of the whole table. `RowUpdates` keeps it a matter of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras


class Rows:
    """Some distinct rows of a table, and of every variable of its shape."""

    def __init__(self, index: int, rows: Any):
        self.index = index  # which of the optimizer's variables the table is
        self.rows = rows

    def read(self, variable: Any) -> Any:
        import tensorflow as tf

        return tf.gather(_raw(variable), self.rows)

    def write(self, variable: Any, values: Any) -> None:
        """Replace the rows. Reading, computing and replacing is several times cheaper on a CPU than TensorFlow's
        scatter-subtract or its fused sparse updates, which go element by element."""
        import tensorflow as tf

        variable = _raw(variable)
        values = tf.cast(values, variable.dtype)
        tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=self.rows, updates=values)


class RowUpdates:
    """Put before a Keras optimizer, it sends the gradients of table lookups to `update_rows`.

    Everything else is Keras's. On JAX and PyTorch, whose gradients are dense, nothing changes.

    What would have to touch the whole table in every step is refused: an average of the weights (`use_ema`),
    gradient accumulation, a constraint, and, unless the optimizer decays rows lazily, `weight_decay`.
    """

    decays_rows = False

    def update_rows(self, at: Rows, table: Any, gradient: Any, learning_rate: Any) -> None:
        """Update the rows `at` of a table whose whole gradient there is `gradient`, (n, dim)."""
        raise NotImplementedError

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        if not any(map(is_sparse, grads)):
            super().apply(grads, trainable_variables)  # type: ignore[misc]
            return
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        if not self.built:
            with keras.name_scope(self.name):
                self.build(variables)
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        dense = [(g, v) for g, v in pairs if not is_sparse(g)]
        lookups = []
        for gradient, table in ((g, v) for g, v in pairs if is_sparse(g)):
            self._refuse_whole_table(table)
            rows, gradient = unique_rows(gradient)
            lookups.append((table, rows, gradient / (self.loss_scale_factor or 1.0)))
        lookups, dense = self._clip(lookups, dense)
        learning_rate = self.learning_rate
        for table, rows, gradient in lookups:
            at = Rows(self._get_variable_index(table), rows)
            self.update_rows(at, table, keras.ops.cast(gradient, table.dtype), learning_rate)
        if dense:
            super().apply(*zip(*dense, strict=True))  # type: ignore[misc]
        else:
            self._iterations.assign_add(1)

    def _clip(self, lookups: list[Any], dense: list[Any]) -> tuple[list[Any], list[Any]]:
        """Clip as Keras documents: norms are over a variable's whole gradient, or over all variables'."""
        import tensorflow as tf

        if self.clipvalue:
            lookups = [(t, r, tf.clip_by_value(g, -self.clipvalue, self.clipvalue)) for t, r, g in lookups]
        elif self.clipnorm:
            lookups = [(t, r, tf.clip_by_norm(g, self.clipnorm)) for t, r, g in lookups]
        elif self.global_clipnorm:
            scale = self.loss_scale_factor or 1.0
            norm = tf.linalg.global_norm([g for _, _, g in lookups] + [g / scale for g, _ in dense])
            factor = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm)
            lookups = [(t, r, g * factor) for t, r, g in lookups]
            # Keras then finds the dense part's own norm below the bound and leaves it.
            dense = [(g * factor, v) for g, v in dense]
        return lookups, dense

    def _refuse_whole_table(self, table: Any) -> None:
        reasons = {
            "use_ema": self.use_ema,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "weight_decay": self.weight_decay and not self.decays_rows and self._use_weight_decay(table),
        }
        for option in (name for name, is_set in reasons.items() if is_set):
            raise ValueError(
                f"{type(self).__name__}({option}=...) would touch every row of {table.name!r} in every step. Give the "
                "dense part its own optimizer with kr.optimizers.Multi, or use Keras's optimizer, which does so"
            )
        if getattr(table, "constraint", None) is not None:
            raise ValueError(f"{table.name!r} has a constraint, which would touch every row in every step; remove it")


def is_sparse(gradient: Any) -> bool:
    """Whether a gradient names the rows it is for."""
    return hasattr(gradient, "indices") and hasattr(gradient, "dense_shape")


def unique_rows(gradient: Any) -> tuple[Any, Any]:
    """The distinct rows of a sparse gradient and each row's whole gradient: (n,) and (n, dim).

    A row looked up several times has several gradients; an optimizer that is not linear in the gradient needs
    their sum. `DistributedEmbedding` looks distinct rows up, and then there is nothing to sum.
    """
    import tensorflow as tf

    if _came_from_unique(gradient.indices):
        return gradient.indices, gradient.values
    rows, position = tf.unique(gradient.indices)
    return rows, tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))


def _came_from_unique(indices: Any) -> bool:
    """Whether the graph itself shows that indices are distinct: they are what a Unique operation put out."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    while indices.op.type in ("Reshape", "Identity", "Cast"):
        indices = indices.op.inputs[0]
    return indices.op.type in ("Unique", "UniqueV2")


def _raw(variable: Any) -> Any:
    """The `tf.Variable` of what Keras hands an optimizer: a Keras variable or the raw one."""
    return variable.value if isinstance(variable, keras.Variable) else variable
