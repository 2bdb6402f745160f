"""What every optimizer of this package shares: table rows are updated as rows, and tables may have their own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any
from urllib.parse import quote  # HDF5 makes groups of names with a slash

import keras

from kerasrec._keras import NoReplicaSum, decays, learning_rate_variable, optimized_variables, variable_index
from kerasrec.optimizers.sparse import Rows, is_sparse
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.keras_files import saved_blocks, whole_for_file
from kerasrec.parallel.comm.data_parallel import average, broadcast_weights, gather
from kerasrec.parallel.fit.fingerprint import of_optimizer
from kerasrec.parallel.fit.rank_check import check_same_on_ranks, code_fingerprint
from kerasrec.tables.row_io import filled_rows, write_rows
from kerasrec.tables.variables import TableVariable, is_sharded, is_table


class TableOptimizer(NoReplicaSum):
    """Put before a Keras optimizer, it sends the gradients of table lookups to `update_rows`.

    Everything else is Keras's: schedules, clipping (norms are of a variable's whole gradient, as Keras documents),
    loss scaling. On JAX and PyTorch, whose gradients are dense, nothing changes. A table whose `TableConfig`
    names an optimizer is given to that one.

    What would touch a whole table in every step is refused for tables: `use_ema`, `gradient_accumulation_steps`,
    a constraint and, unless rows decay lazily (`decays_rows`), `weight_decay`.

    State is saved under the tables' names in logical row order, that of other variables by their position, so a
    file does not depend on how tables are stacked.
    """

    decays_rows = False
    averages_over_ranks = True

    def update_rows(self, at: Rows, table: Any, gradient: Any, learning_rate: Any) -> None:
        """Update the rows `at` of `table`; `gradient` (n, dim) is those rows' whole gradient."""
        raise NotImplementedError

    def optimizer_of(self, variable: Any) -> Any:
        """The optimizer that trains a variable: this one, unless its table has its own."""
        own = variable.stack.optimizer if isinstance(variable, TableVariable) else None
        return self if own is None else own

    # ---- a step ----------------------------------------------------------------------------------------------
    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        self._parts = _Parts(self, variables)
        if self._parts.others and keras.backend.backend() == "jax":
            raise ValueError(
                f"{self.name}: on JAX one optimizer trains all variables, since Keras hands its step the state of "
                "that one alone; tables with an optimizer of their own need TensorFlow or PyTorch"
            )
        for optimizer, some in self._parts.others:
            optimizer.build(some)
        for variable in filter(is_table, self._parts.own):
            self._refuse_whole_table(variable)
        self._slots = _Slots()
        with _eagerly():
            super().build(self._parts.own)
            self._broadcast_weights([v for v in self._parts.own if not is_sharded(v)])

    def _broadcast_weights(self, dense: list[Any]) -> None:
        if comm.size() > 1:
            shapes = [[list(v.shape), str(v.dtype)] for v in dense]
            compared = {"code": code_fingerprint(), "optimizer": of_optimizer(self), "weights": shapes}
            check_same_on_ranks("training", compared)
            broadcast_weights(dense)

    def apply(self, grads: Sequence[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        variables = optimized_variables(self) if trainable_variables is None else list(trainable_variables)
        if not self.built:
            with keras.name_scope(self.name):
                self.build(variables)
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        with _step_of(pairs):
            for optimizer, _ in self._parts.others:
                theirs = [(self._unscaled(g), v) for g, v in pairs if self.optimizer_of(v) is optimizer]
                if theirs:
                    optimizer.apply(*zip(*theirs, strict=True))
            mine = self._averaged([(g, v) for g, v in pairs if self.optimizer_of(v) is self])
            if any(is_sparse(g) for g, _ in mine):
                mine = self._apply_rows(mine)
            if mine:
                super().apply(*zip(*mine, strict=True))
            else:
                self.iterations.assign_add(1)

    def _averaged(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """With the gradients of the global batch; those of `DistributedEmbedding` come so from the layer."""
        if comm.size() == 1:
            return pairs
        sparse = [(g if is_sharded(v) else gather(g), v) for g, v in pairs if is_sparse(g)]
        dense = [(g, v) for g, v in pairs if not is_sparse(g)]
        averaged = average([g for g, _ in dense])
        return [*sparse, *zip(averaged, (v for _, v in dense), strict=True)]

    def _apply_rows(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Update the tables' rows; return what is left, the dense gradients."""
        from kerasrec.tables.distinct_rows import add_up_rows

        dense = [(g, v) for g, v in pairs if not is_sparse(g)]
        lookups = []
        for gradient, table in ((g, v) for g, v in pairs if is_sparse(g)):
            self._refuse_whole_table(table)
            rows, gradient = add_up_rows(self._unscaled(gradient))
            lookups.append((table, rows, gradient))
        lookups, dense = self._clip(lookups, dense)
        for table, rows, gradient in lookups:
            at = Rows(rows, variable_index(self, table))
            gradient = keras.ops.cast(gradient, table.dtype)
            self.update_rows(at, table, gradient, keras.ops.cast(self.learning_rate, table.dtype))
            if isinstance(table, TableVariable) and table.replicas is not None:
                table.replicas.refresh(table, rows)
        return dense

    def _unscaled(self, gradient: Any) -> Any:
        """A gradient of the loss itself, not of the scaled loss."""
        scale = self.loss_scale_factor
        if not scale:
            return gradient
        if not is_sparse(gradient):
            return gradient / scale
        return type(gradient)(gradient.values / scale, gradient.indices, gradient.dense_shape)

    def _clip(self, lookups: list[Any], dense: list[Any]) -> tuple[list[Any], list[Any]]:
        import tensorflow as tf

        if self.clipvalue:
            return [(t, r, tf.clip_by_value(g, -self.clipvalue, self.clipvalue)) for t, r, g in lookups], dense
        if not (self.clipnorm or self.global_clipnorm):
            return lookups, dense
        squares = [tf.reduce_sum(g * g) for _, _, g in lookups]
        spread = [place for place, (table, _, _) in enumerate(lookups) if is_sharded(table)]
        if spread:
            sums = comm.allreduce([squares[place] for place in spread], "kerasrec.norms")
            for place, total in zip(spread, sums, strict=True):
                squares[place] = total
        if self.clipnorm:
            factors = [self.clipnorm / tf.maximum(tf.sqrt(each), self.clipnorm) for each in squares]
            lookups = [(t, r, g * factor) for (t, r, g), factor in zip(lookups, factors, strict=True)]
        else:
            norm = tf.linalg.global_norm([*map(tf.sqrt, squares), *(self._unscaled(g) for g, _ in dense)])
            factor = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm)
            lookups = [(t, r, g * factor) for t, r, g in lookups]
            # Keras then finds the dense part's own norm below the bound and leaves it.
            dense = [(g * factor, v) for g, v in dense]
        return lookups, dense

    def _refuse_whole_table(self, table: Any) -> None:
        if keras.backend.backend() != "tensorflow":
            return
        reasons = {
            "use_ema": self.use_ema,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "weight_decay": self.weight_decay and not self.decays_rows and decays(self, table),
        }
        for option in (name for name, is_set in reasons.items() if is_set):
            raise ValueError(
                f"{type(self).__name__}({option}=...) would touch every row of {table.name!r} in every step. Give "
                "the dense part its own optimizer with kr.optimizers.Multi, or use Keras's, which does just that"
            )
        if table.constraint is not None:
            raise ValueError(
                f"{table.name!r} has a constraint, which would touch every row in every step; remove it"
            )

    # ---- state -----------------------------------------------------------------------------------------------
    def add_variable_from_reference(
        self, reference_variable: Any, name: Any = None, initializer: Any = "zeros"
    ) -> Any:
        slot = self.new_slot(reference_variable, name, initializer)
        self._slots.add(reference_variable, name, slot)
        return slot

    def new_slot(self, variable: Any, name: str, initializer: Any) -> Any:
        """The optimizer's own variable `name` for a variable of the model."""
        if is_table(variable):
            initializer = _filled(initializer)
        return super().add_variable_from_reference(variable, name=name, initializer=initializer)

    def table_slots(self, variable: Any) -> dict[str, Any]:
        """The optimizer's variables for one table (or stack of tables), by name; each has the table's rows."""
        optimizer = self.optimizer_of(variable)
        return self._slots.of(variable) if optimizer is self else optimizer.table_slots(variable)

    def dense_state(self) -> dict[str, Any]:
        """The optimizer's variables that are no table's, by names that do not depend on where tables live."""
        if not self.built:
            return {}
        state = {"iteration": self.iterations}
        if (learning_rate := learning_rate_variable(self)) is not None:
            state["learning_rate"] = learning_rate
        for place, variable in enumerate(v for v in self._parts.own if not isinstance(v, TableVariable)):
            state |= {f"{place}:{name}": slot for name, slot in self._slots.of(variable).items()}
        for optimizer, some in self._parts.others:
            # Which comes first may depend on the plan; which tables it trains does not.
            trains = [part.source.name for v in some if isinstance(v, TableVariable) for part in v.shards.slices]
            of = f"table {quote(min(trains), safe='')}" if trains else "dense"
            state |= {f"{of}.{key}": variable for key, variable in optimizer.dense_state().items()}
        return state

    def save_own_variables(self, store: Any) -> None:
        """On several ranks all of them must call it, and only rank 0's store gets the tables' state."""
        for key, variable in self.dense_state().items():
            store[key] = keras.ops.convert_to_numpy(variable)
        held: dict[tuple[str, str], list[tuple[Any, Any]]] = {}  # a table's columns may be in several stacks
        for variable, slot, keys in self._table_state():
            for table, key in keys.items():
                held.setdefault((table, key), []).append((variable.shards, slot))
        for (table, key), parts in held.items():
            rows = whole_for_file([shards for shards, _ in parts], [slot for _, slot in parts], table)
            if rows is not None:
                store[key] = rows

    def load_own_variables(self, store: Any) -> None:
        dense, tables = self.dense_state(), self._table_state()
        known = {*dense, *(key for _, _, keys in tables for key in keys.values())}
        if known != set(store.keys()):
            differ = ", ".join(sorted(known ^ set(store.keys()))[:4])
            warnings.warn(
                f"{self.name}: the optimizer keeps its state, since that in the file is of other variables "
                f"({differ}, ...)",
                stacklevel=2,
            )
            return
        for key, variable in dense.items():
            variable.assign(store[key])
        for variable, slot, keys in tables:
            write_rows(slot, saved_blocks(variable.stack, {table: store[key] for table, key in keys.items()}))

    def _table_state(self) -> list[tuple[Any, Any, dict[str, str]]]:
        """Each stack of tables with each variable the optimizer has for it, and its tables' keys in a file."""
        if not self.built:
            return []
        state = []
        for variable in (v for v in self._parts.own if isinstance(v, TableVariable)):
            tables = [part.source.name for part in variable.shards.slices]
            for name, slot in self._slots.of(variable).items():
                state.append((variable, slot, {table: f"{quote(table, safe='')}:{name}" for table in tables}))
        for optimizer, _ in self._parts.others:
            state += optimizer._table_state()
        return state


def _step_of(pairs: Sequence[tuple[Any, Any]]) -> Any:
    """The step whose gradients are applied: it knows how much this rank's count."""
    if comm.size() == 1:
        return nullcontext()
    from kerasrec.parallel.comm.batch_share import LookupShare, update_step

    tables = [(g, v) for g, v in pairs if isinstance(v, TableVariable)]
    shares = [v.lookup_share for _, v in tables if isinstance(v.lookup_share, LookupShare)]
    of_layers = {id(share): share for share in shares}.values()
    dense = [g.values if is_sparse(g) else g for g, v in pairs if not is_sparse(g) or not is_sharded(v)]
    return update_step(of_layers, [g.values for g, _ in tables if is_sparse(g)], dense)


def _eagerly() -> Any:
    """Out of the graph that `fit` may be tracing: a slot as large as a table is then made in its own buffer."""
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    return tf.init_scope()


def _filled(initializer: Any) -> Callable[..., Any]:
    """Keras's constant initializer multiplies ones by the value, and so holds a slot of a table's size twice."""
    value = getattr(keras.initializers.get(initializer), "value", 0.0)
    return lambda shape, dtype=None: filled_rows(shape, keras.backend.standardize_dtype(dtype), value)


class _Parts:
    """Which optimizer trains which variables. (A plain object: Keras would wrap and track a list or dict.)"""

    def __init__(self, optimizer: TableOptimizer, variables: Sequence[Any]):
        self.own = [v for v in variables if optimizer.optimizer_of(v) is optimizer]
        others: dict[int, tuple[Any, list[Any]]] = {}
        for variable in variables:
            other = optimizer.optimizer_of(variable)
            if other is not optimizer:
                if not isinstance(other, TableOptimizer):
                    raise ValueError(
                        f"{other.name!r} is not of kr.optimizers; it would update whole tables in every step"
                    )
                others.setdefault(id(other), (other, []))[1].append(variable)
        self.others = tuple(others.values())


class _Slots:
    """The optimizer's variables by the model's variable and by name."""

    def __init__(self) -> None:
        self._all: list[tuple[Any, str, Any]] = []

    def add(self, variable: Any, name: str, slot: Any) -> None:
        self._all.append((variable, name, slot))

    def of(self, variable: Any) -> dict[str, Any]:
        return {name: slot for owner, name, slot in self._all if owner is variable}
