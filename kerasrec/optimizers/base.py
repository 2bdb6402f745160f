"""What the optimizers of this package share: they update tables row by row, and a table may have its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote  # HDF5 makes groups of names with a slash

import keras

from kerasrec._keras import NoReplicaSum, decays, learning_rate_variable, optimized_variables, variable_index
from kerasrec.optimizers.slots import Slots, StackState, constant_rows, eagerly, table_names
from kerasrec.optimizers.sparse import Rows, is_sparse
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.keras_files import full_table_on_rank_0, saved_blocks
from kerasrec.parallel.comm.data_parallel import average, broadcast_weights, gather
from kerasrec.parallel.fit.fingerprint import of_optimizer
from kerasrec.parallel.fit.rank_check import check_same_on_ranks, code_fingerprint
from kerasrec.tables.row_io import write_rows
from kerasrec.tables.variables import TableVariable, is_sharded, is_table
from kerasrec.typing import Optimizer, Tensor, Variable

Gradient: TypeAlias = Tensor  # dense, or the `tf.IndexedSlices` of a table
Pair: TypeAlias = tuple[Gradient, Variable]


class TableOptimizer(NoReplicaSum):
    """Put before a Keras optimizer, it passes the gradients of table lookups to `update_rows`.

    Everything else is Keras's: schedules, clipping (a norm is of a variable's full gradient, as Keras documents),
    loss scaling. On JAX and PyTorch, whose gradients are dense, nothing changes. A table whose `TableConfig` names
    an optimizer is trained by that one.

    What would update every row of a table in every step is refused: `use_ema`, `gradient_accumulation_steps`, a
    constraint and, unless rows decay lazily (`decays_rows`), `weight_decay`.

    In files a table's state has the table's name and the order of its rows; that of other variables their
    position. So a file does not depend on how tables are stacked.
    """

    decays_rows = False
    averages_over_ranks = True

    def update_rows(self, at: Rows, table: Variable, gradient: Tensor, learning_rate: Tensor) -> None:
        """Update the rows `at` of `table`; `gradient` (n, dim) is the full gradient of each."""
        raise NotImplementedError

    def optimizer_of(self, variable: Variable) -> Optimizer:
        """Return the optimizer that trains a variable: this one, unless its table has its own."""
        own = variable.stack.optimizer if isinstance(variable, TableVariable) else None
        return self if own is None else own

    # ---- a step ----------------------------------------------------------------------------------------------
    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        self._parts = _Parts(self, variables)
        if self._parts.others and keras.backend.backend() == "jax":
            raise ValueError(
                f"{self.name}: tables with an optimizer of their own need the TensorFlow or PyTorch backend; on "
                "JAX Keras passes the state of one optimizer alone to a training step"
            )
        for optimizer, others in self._parts.others:
            optimizer.build(others)
        for variable in filter(is_table, self._parts.own):
            self._refuse_dense_updates(variable)
        self._slots = Slots()
        with eagerly():
            super().build(self._parts.own)
            self._broadcast_weights([v for v in self._parts.own if not is_sharded(v)])

    def _broadcast_weights(self, dense: list[Variable]) -> None:
        """Give every rank the same dense weights to begin with, and check that ranks train the same model."""
        if comm.size() > 1:
            shapes = [[list(v.shape), str(v.dtype)] for v in dense]
            compared = {"code": code_fingerprint(), "optimizer": of_optimizer(self), "weights": shapes}
            check_same_on_ranks("training", compared)
            broadcast_weights(dense)

    def apply(
        self, grads: Sequence[Gradient | None], trainable_variables: Iterable[Variable] | None = None
    ) -> None:
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

    def _averaged(self, pairs: list[Pair]) -> list[Pair]:
        """Return the gradients of the global batch, as those of `DistributedEmbedding` tables already are."""
        if comm.size() == 1:
            return pairs
        sparse = [(g if is_sharded(v) else gather(g), v) for g, v in pairs if is_sparse(g)]
        dense = [(g, v) for g, v in pairs if not is_sparse(g)]
        averaged = average([g for g, _ in dense])
        return [*sparse, *zip(averaged, (v for _, v in dense), strict=True)]

    def _apply_rows(self, pairs: list[Pair]) -> list[Pair]:
        """Update the tables' rows; return the dense gradients, which are left."""
        from kerasrec.tables.distinct_rows import add_up_rows

        dense = [(g, v) for g, v in pairs if not is_sparse(g)]
        lookups = []
        for gradient, table in ((g, v) for g, v in pairs if is_sparse(g)):
            self._refuse_dense_updates(table)
            lookups.append(_Lookup(table, *add_up_rows(self._unscaled(gradient))))
        lookups, dense = self._clip(lookups, dense)
        for table, rows, gradient in lookups:
            at = Rows(rows, variable_index(self, table))
            gradient = keras.ops.cast(gradient, table.dtype)
            self.update_rows(at, table, gradient, keras.ops.cast(self.learning_rate, table.dtype))
            if isinstance(table, TableVariable) and table.replicas is not None:
                table.replicas.refresh(table, rows)
        return dense

    def _unscaled(self, gradient: Gradient) -> Gradient:
        """Return the gradient of the loss itself, from that of the scaled loss; of the same type."""
        scale = self.loss_scale_factor
        if not scale:
            return gradient
        if not is_sparse(gradient):
            return gradient / scale
        return type(gradient)(gradient.values / scale, gradient.indices, gradient.dense_shape)

    def _clip(self, lookups: list[_Lookup], dense: list[Pair]) -> tuple[list[_Lookup], list[Pair]]:
        import tensorflow as tf

        if self.clipvalue:
            bound = self.clipvalue
            return [x._replace(gradient=tf.clip_by_value(x.gradient, -bound, bound)) for x in lookups], dense
        if not (self.clipnorm or self.global_clipnorm):
            return lookups, dense
        squares = _square_norms(lookups)
        if self.clipnorm:
            factors = [self.clipnorm / tf.maximum(tf.sqrt(square), self.clipnorm) for square in squares]
        else:
            norm = tf.linalg.global_norm([*map(tf.sqrt, squares), *(self._unscaled(g) for g, _ in dense)])
            factor = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm)
            factors = [factor] * len(lookups)
            # Keras then finds the dense part's own norm below the bound and leaves it.
            dense = [(g * factor, v) for g, v in dense]
        scaled = [x._replace(gradient=x.gradient * by) for x, by in zip(lookups, factors, strict=True)]
        return scaled, dense

    def _refuse_dense_updates(self, table: Variable) -> None:
        """Raise `ValueError` for an option that would update every row of a table in every step."""
        if keras.backend.backend() != "tensorflow":
            return
        options = {
            "use_ema": self.use_ema,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "weight_decay": self.weight_decay and not self.decays_rows and decays(self, table),
        }
        for option in (name for name, is_set in options.items() if is_set):
            raise ValueError(
                f"{type(self).__name__}({option}=...) is not supported for embedding tables: it would update "
                f"every row of {table.name!r} in every step. Use kr.optimizers.Multi to train the dense part with "
                "an optimizer of its own"
            )
        if table.constraint is not None:
            raise ValueError(
                f"the constraint of {table.name!r} is not supported for embedding tables: it would update every "
                "row in every step. Remove it"
            )

    # ---- state -----------------------------------------------------------------------------------------------
    def add_variable_from_reference(
        self, reference_variable: Variable, name: str = "", initializer: Any = "zeros"
    ) -> Variable:
        slot = self.new_slot(reference_variable, name, initializer)
        self._slots.add(reference_variable, name, slot)
        return slot

    def new_slot(self, variable: Variable, name: str, initializer: Any) -> Variable:
        """Make the optimizer's variable `name` for a variable of the model."""
        if is_table(variable):
            initializer = constant_rows(initializer)
        return super().add_variable_from_reference(variable, name=name, initializer=initializer)

    def table_slots(self, variable: Variable) -> dict[str, Variable]:
        """Return the optimizer's variables for a table or stack of tables, by name; each has the table's rows."""
        optimizer = self.optimizer_of(variable)
        return self._slots.of(variable) if optimizer is self else optimizer.table_slots(variable)

    def dense_state(self) -> dict[str, Variable]:
        """Return the optimizer's variables that belong to no table, by names that do not depend on the plan."""
        if not self.built:
            return {}
        state = {"iteration": self.iterations}
        if (learning_rate := learning_rate_variable(self)) is not None:
            state["learning_rate"] = learning_rate
        for place, variable in enumerate(v for v in self._parts.own if not isinstance(v, TableVariable)):
            state |= {f"{place}:{name}": slot for name, slot in self._slots.of(variable).items()}
        for optimizer, others in self._parts.others:
            # Which comes first may depend on the plan; which tables it trains does not.
            tables = [name for v in others if isinstance(v, TableVariable) for name in table_names(v)]
            owner = f"table {quote(min(tables), safe='')}" if tables else "dense"
            state |= {f"{owner}.{key}": variable for key, variable in optimizer.dense_state().items()}
        return state

    def save_own_variables(self, store: Any) -> None:
        """Save the state. Every rank must call it, and only rank 0's store gets the tables' state."""
        for key, variable in self.dense_state().items():
            store[key] = keras.ops.convert_to_numpy(variable)
        by_key: dict[tuple[str, str], list[StackState]] = {}  # a table's columns may be in several stacks
        for state in self._table_state():
            for table, key in state.keys.items():
                by_key.setdefault((table, key), []).append(state)
        for (table, key), states in by_key.items():
            stacks, slots = [state.variable.shards for state in states], [state.slot for state in states]
            rows = full_table_on_rank_0(stacks, slots, table)
            if rows is not None:
                store[key] = rows

    def load_own_variables(self, store: Any) -> None:
        dense, tables = self.dense_state(), self._table_state()
        expected = {*dense, *(key for state in tables for key in state.keys.values())}
        if expected != set(store.keys()):
            differing = ", ".join(sorted(expected ^ set(store.keys()))[:4])
            warnings.warn(
                f"{self.name}: the optimizer keeps its state, since that in the file is of other variables "
                f"({differing}, ...)",
                stacklevel=2,
            )
            return
        for key, variable in dense.items():
            variable.assign(store[key])
        for state in tables:
            full_arrays = {table: store[key] for table, key in state.keys.items()}
            write_rows(state.slot, saved_blocks(state.variable.stack, full_arrays))

    def _table_state(self) -> list[StackState]:
        """Return every variable that the optimizer has for a stack of tables."""
        if not self.built:
            return []
        states = []
        for variable in (v for v in self._parts.own if isinstance(v, TableVariable)):
            for name, slot in self._slots.of(variable).items():
                keys = {table: f"{quote(table, safe='')}:{name}" for table in table_names(variable)}
                states.append(StackState(variable, slot, keys))
        for optimizer, _ in self._parts.others:
            states += optimizer._table_state()
        return states


class _Lookup(NamedTuple):
    """Distinct rows of a table, (n,), and the full gradient of each, (n, dim)."""

    table: Variable
    rows: Tensor
    gradient: Tensor


def _square_norms(lookups: list[_Lookup]) -> list[Tensor]:
    """Return the square of the norm of each table's full gradient, on all ranks together."""
    import tensorflow as tf

    squares = [tf.reduce_sum(lookup.gradient * lookup.gradient) for lookup in lookups]
    sharded = [place for place, lookup in enumerate(lookups) if is_sharded(lookup.table)]
    if sharded:
        sums = comm.allreduce([squares[place] for place in sharded], "kerasrec.norms")
        for place, total in zip(sharded, sums, strict=True):
            squares[place] = total
    return squares


def _step_of(pairs: Sequence[Pair]) -> AbstractContextManager[None]:
    """Return the step whose gradients are applied, which knows this rank's share of the global batch."""
    if comm.size() == 1:
        return nullcontext()
    from kerasrec.parallel.comm.batch_share import LookupShare, update_step

    tables = [(g, v) for g, v in pairs if isinstance(v, TableVariable)]
    shares = [v.lookup_share for _, v in tables if isinstance(v.lookup_share, LookupShare)]
    of_layers = {id(share): share for share in shares}.values()
    dense = [g.values if is_sparse(g) else g for g, v in pairs if not is_sparse(g) or not is_sharded(v)]
    return update_step(of_layers, [g.values for g, _ in tables if is_sparse(g)], dense)


class _Parts:
    """The variables that an optimizer trains itself, and those of other optimizers, with these.

    A plain object: Keras would wrap and track a list or dict.
    """

    def __init__(self, optimizer: TableOptimizer, variables: Sequence[Variable]):
        self.own = [v for v in variables if optimizer.optimizer_of(v) is optimizer]
        others: dict[int, tuple[TableOptimizer, list[Variable]]] = {}
        for variable in variables:
            other = optimizer.optimizer_of(variable)
            if other is not optimizer:
                if not isinstance(other, TableOptimizer):
                    raise ValueError(
                        f"optimizer {other.name!r} is not supported for embedding tables: it would update every "
                        "row in every step. Use an optimizer of kr.optimizers"
                    )
                others.setdefault(id(other), (other, []))[1].append(variable)
        self.others = tuple(others.values())
