"""Saves, restores and trains on from checkpoints on any number of ranks."""

import itertools
import os
import re
import shutil
import signal
import sys
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasrec as kr
from kerasrec.layers.embedding import full_tables
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint import local_tables, safetensors_io
from kerasrec.parallel.exchange.gather_table import gather_slice
from kerasrec.tables import row_io
from kerasrec.tables.variables import ReplicaVariable, TableVariable, table_variables

SIZES = {"item": (103, 4), "tag": (31, 6), "tiny": (2, 4)}
OPTIMIZERS = {
    "adagrad": lambda: kr.optimizers.Adagrad(0.1),
    "adam": lambda: kr.optimizers.Adam(0.01),
    "rowwise_adagrad": lambda: kr.optimizers.RowwiseAdagrad(0.1),
    "multi": lambda: kr.optimizers.Multi(
        {"tables": kr.optimizers.Adagrad(0.1), "dense": kr.optimizers.Adam(0.01)}
    ),
}
BLOCK_BYTES = 512  # many blocks of small tables


class Model(kr.parallel.Model):
    def __init__(self, placements, seed, own, dropout):
        super().__init__(name="ranked")
        tables = {
            name: kr.TableConfig(
                name,
                *SIZES[name],
                placement=placements[name],
                frequent_rows=2,
                optimizer=own if name == "tag" else None,
            )
            for name in SIZES
        }
        features = {name: kr.FeatureConfig(name, table) for name, table in tables.items()}
        plan = kr.parallel.plan_from_placements(features, comm.size())
        self.tables = kr.layers.DistributedEmbedding(features, seed=seed, plan=plan)
        self.hidden = keras.layers.Dense(5, "tanh")
        self.dropout = keras.layers.Dropout(dropout, seed=seed + comm.rank())
        self.last = keras.layers.Dense(1)
        self.seen = self.add_weight(
            (), "zeros", trainable=False, name="seen"
        )  # as moving averages, each rank's own

    def build(self, shapes):
        self.tables.build()
        self.hidden.build((None, 14))
        self.last.build((None, 5))

    def call(self, ids, training=None):
        vectors = self.tables(ids, training=training)
        hidden = self.hidden(keras.ops.concatenate([vectors[name] for name in sorted(vectors)], axis=-1))
        return self.last(self.dropout(hidden, training=training))


def built(case, placements, seed):
    keras.utils.set_random_seed(seed)
    own = OPTIMIZERS[case["own"]]() if case.get("own") else None
    model = Model(placements, seed, own, case.get("dropout", 0.3))
    model.compile(OPTIMIZERS[case["optimizer"]](), loss="mse")
    model.build(None)
    return model


def train(model, steps):
    """Steps numbered so, on this rank's part of each global batch."""
    for step in steps:
        rng = np.random.default_rng(step)
        ids = {name: np.minimum(rng.zipf(1.3, (12, 3)) - 1, size - 1) for name, (size, _) in SIZES.items()}
        target = rng.normal(size=(12, 1)).astype("float32")
        first, last = (12 * place // comm.size() for place in (comm.rank(), comm.rank() + 1))
        model.train_on_batch({name: each[first:last] for name, each in ids.items()}, target[first:last])
        model.seen.assign_add(comm.rank() + 0.5)


def state(model):
    """All there is of a model: whole tables and slots, gathered by other code than a checkpoint's, the rest."""
    optimizer, cut = model.optimizer, {}
    for variable in table_variables(model):
        slots = optimizer.table_slots(variable) if optimizer.built else {}
        for slot, each in {"": variable, **slots}.items():
            for part in variable.shards.slices:
                columns = gather_slice(variable.shards, part, each)
                cut.setdefault(f"{part.source.name}/{slot}", []).append((part.columns, columns))
    found = {
        key: np.concatenate([each for _, each in sorted(some, key=lambda it: it[0])], 1)
        for key, some in cut.items()
    }
    parts = [v for v in model.weights if not isinstance(v, TableVariable | ReplicaVariable)]
    if optimizer.built:
        trainer = optimizer["dense"] if isinstance(optimizer, kr.optimizers.Multi) else optimizer
        parts += [optimizer.iterations, trainer.iterations, trainer.learning_rate]
        dense = [v for v in model.trainable_variables if not isinstance(v, TableVariable)]
        parts += [slot for variable in dense for slot in trainer.table_slots(variable).values()]
    found |= {f"dense{place}": keras.ops.convert_to_numpy(each) for place, each in enumerate(parts)}
    return found


def assert_equal(one, other, **close):
    assert one.keys() == other.keys(), (one.keys(), other.keys())
    for name, values in one.items():
        compare = np.testing.assert_allclose if close else np.testing.assert_array_equal
        compare(other[name], values, err_msg=name, **close)


def check_copies(model):
    for variable in table_variables(model):
        shards = variable.shards
        if shards.replica_rows and comm.size() > 1:
            copies = variable.replicas.replicas.numpy()
            for each, (first, last) in zip(shards.slices, pairwise(shards.first_replica.tolist()), strict=True):
                np.testing.assert_array_equal(
                    copies[first:last], gather_slice(shards, each, variable)[: last - first]
                )


def reads_its_rows(model, path):
    """Restore, and count the bytes that are looked at of tables: those of this rank's rows. Tells the files."""
    sizes, files, read = [], set(), safetensors_io.read

    def counted(file, *arguments):
        out = read(file, *arguments)
        sizes.append(out.nbytes)
        files.add(file.name)
        return out

    safetensors_io.read = counted
    try:
        kr.parallel.restore(model, path)
    finally:
        safetensors_io.read = read
    stacks = table_variables(model)
    mine = [*stacks, *(slot for stack in stacks for slot in model.optimizer.table_slots(stack).values())]
    assert sum(sizes) == sum(np.array(each.value).nbytes for each in mine)
    return files


def save_and_restore(case, folder):
    """Uninterrupted training against training from a checkpoint, under this plan and others."""
    model = built(case, case["placements"], seed=3)
    train(model, range(3))
    mean = np.mean(comm.gather_objects(float(model.seen)))
    kr.parallel.save(model, folder / "saved")
    assert comm.gather_objects(float(model.seen)) == [mean] * comm.size()
    at_save = state(model)
    train(model, range(3, 5))
    after = state(model)
    again = built(case, case["placements"], seed=50)
    files = reads_its_rows(again, folder / "saved")
    others = [name for name in files if "@" in name and f"@{comm.rank()}-" not in name]
    assert not others, f"read files of other ranks: {others}"
    assert_equal(at_save, state(again))
    check_copies(again)
    train(again, range(3, 5))
    assert_equal(after, state(again))
    for placements in case["others"]:
        other = built(case, placements, seed=60)
        reads_its_rows(other, folder / "saved")
        assert_equal(at_save, state(other))
        check_copies(other)
    for place in case.get("before", []):  # what another number of ranks saved
        reads_its_rows(again, Path(place) / "saved")
        assert_equal(dict(np.load(Path(place) / "at_save.npz")), state(again))
        check_copies(again)
    if comm.rank() == 0:
        np.savez(folder / "at_save.npz", **at_save)
        np.savez(folder / "after.npz", **after)
    # What one rank saved, under this plan.
    kr.parallel.restore(again, folder / "alone")
    assert_equal(dict(np.load(folder / "alone.npz")), state(again))


def broken(case, folder):
    """Every rank hears of what only one of them finds, before anything is changed."""
    model = built(case, case["placements"], seed=3)
    path = folder / "broken"
    train(model, range(1))
    kr.parallel.save(model, path)
    before = state(model)
    other = built(case, case["placements"], seed=70)
    other_before = state(other)
    for file in sorted(path.glob("save-*/*"))[:3]:
        good = file.read_bytes()
        comm.barrier()
        if comm.rank() == 0:
            file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        comm.barrier()
        refused(ValueError, f"{file.name} is damaged", kr.parallel.restore, other, path)
        if comm.rank() == 0:
            file.unlink()
        comm.barrier()
        refused(FileNotFoundError, file.name, kr.parallel.restore, other, path)
        (foreign,) = (folder / "0" / "saved").glob(f"save-*/{file.name}")
        comm.barrier()
        if comm.rank() == 0:
            shutil.copy(foreign, file)
        comm.barrier()
        refused(ValueError, f"{file.name} is of another save", kr.parallel.restore, other, path)
        assert_equal({k: v for k, v in state(other).items() if k in other_before}, other_before)
        comm.barrier()
        if comm.rank() == 0:
            file.write_bytes(good)
        comm.barrier()
    refused(FileExistsError, "overwrite=True", kr.parallel.save, model, path)
    kr.parallel.save(model, path, overwrite=True)
    write = safetensors_io.write

    def full(*arguments):
        raise OSError("no space left")

    safetensors_io.write = full if comm.rank() == comm.size() - 1 else write
    refused(OSError, "no space left", kr.parallel.save, model, path, overwrite=True)
    safetensors_io.write = write
    if comm.rank() == 0:
        assert len(list(path.iterdir())) == 2, list(path.iterdir())
    kr.parallel.restore(model, path)
    assert_equal(before, state(model))


def each_moment(case, folder):
    """Keeps the checkpoint's folder as it is on disk at every moment of a save that replaces another."""
    path, moments = folder / "moments", folder / f"moments_{comm.rank()}"
    moments.mkdir()
    model = built(case, case["placements"], seed=3)
    train(model, range(1))
    kr.parallel.save(model, path)
    before = state(model)
    train(model, range(1, 3))
    count = itertools.count()

    def keep():
        copying.append(True)
        shutil.copytree(path, moments / f"{next(count)}")
        copying.clear()

    def about_to(event, arguments):
        """Python tells of what it is about to do: open, make a folder, rename, remove."""
        if copying or not event.startswith(("open", "os.", "shutil.")):
            return
        if any(str(each).startswith(str(path)) for each in arguments):
            keep()

    blocks = local_tables.LocalArray.blocks

    def each_block(self):
        for block in blocks(self):
            yield block
            keep()

    copying = []
    local_tables.LocalArray.blocks = each_block
    sys.addaudithook(about_to)  # for good: no hook can be removed
    kr.parallel.save(model, path, overwrite=True)
    copying.append(True)
    local_tables.LocalArray.blocks = blocks
    after = state(model)
    if comm.rank() == 0:
        np.savez(folder / "moment_before.npz", **before)
        np.savez(folder / "moment_after.npz", **after)


def export(case, folder):
    """The same SavedModel as from one rank, which restored the checkpoint."""
    model = built(case, case["placements"], seed=3)
    train(model, range(2))
    kr.parallel.save(model, folder / "exported")
    ids = {name: keras.Input((3,), name=name, dtype="int64") for name in SIZES}
    functional = keras.Model(ids, model(ids))
    mean = np.mean(comm.gather_objects(float(model.seen)))
    kr.serving.export(functional, folder / "served")
    assert float(model.seen) == mean
    memory, full_tables.free_memory = full_tables.free_memory, lambda: 100
    refused(MemoryError, "tables take", kr.serving.export, functional, folder / "refused")
    full_tables.free_memory = memory
    refused(FileExistsError, "served exists", kr.serving.export, functional, folder / "served")
    train(model, range(1))  # the layer exchanges again


def refused(kind, message, call, *arguments, **options):
    with pytest.raises(kind, match=re.escape(message)):
        call(*arguments, **options)


def killed(case, folder):
    """The last rank is killed in the middle of its second table."""
    model = built(case, case["placements"], seed=3)
    kr.parallel.save(model, folder / "killed")
    train(model, range(2))
    blocks, calls = local_tables.LocalArray.blocks, []

    def dying(self):
        calls.append(self)
        for block in blocks(self):
            yield block
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    row_io.BLOCK_BYTES = BLOCK_BYTES
    if comm.rank() == comm.size() - 1:
        local_tables.LocalArray.blocks = dying
    kr.parallel.save(model, folder / "killed", overwrite=True)


def run(cases, folder):
    """Save and restore all cases, and see what goes wrong with the first one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_io, "BLOCK_BYTES", BLOCK_BYTES)
        for number, case in enumerate(cases):
            save_and_restore(case, folder / str(number))
        broken(cases[0], folder)
        export(cases[0], folder)
        each_moment(cases[0], folder)
