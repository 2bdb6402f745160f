"""Plans: every row and column in one place, within memory, the same every time; costs as counted on drawn ids."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasrec as kr
from kerasrec.datasets.power_law import Zipf
from kerasrec.parallel.planner.cost_model import predict
from kerasrec.parallel.planner.enumerate import frequent_rows
from kerasrec.parallel.planner.planner import DoesNotFit
from kerasrec.tables.access_frequency import power_law_head
from kerasrec.tables.byte_sizes import parse_bytes
from kerasrec.tables.config import PLACEMENTS
from kerasrec.tables.optimizer_state import optimizer_state
from kerasrec.tables.plan import Plan, plan_from_placements
from kerasrec.tables.table_plan import TablePlan
from kerasrec.tables.workload import Step, TableWorkload

GIB = 2**30


def synthetic_model(name):
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    path = Path(os.environ.get("KERASREC_DATA", default)) / "synthetic_models.json"
    if not path.exists():
        pytest.skip("synthetic_models.json is not here; set KERASREC_DATA to the folder that holds it")
    return json.loads(path.read_text())[name]


def benchmark():
    """benchmarks/plan.py, which knows the six models and the placements to compare with."""
    path = Path(__file__).parents[2] / "benchmarks" / "plan.py"
    spec = importlib.util.spec_from_file_location("benchmark_plan", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@st.composite
def configs(draw, largest=3000):
    features = []
    for index in range(draw(st.integers(1, 6))):
        table = kr.TableConfig(
            f"t{index}",
            draw(st.integers(1, largest)),
            draw(st.integers(1, 40)),
            combiner=draw(st.sampled_from(["sum", "mean", None])),
            placement=draw(st.sampled_from(PLACEMENTS)),
            lookup_cdf=draw(st.sampled_from([None, (0.5, 0.5, 0.9, 1.0), (1.0,)])),
        )
        hotness = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.5, 40.0]), min_size=1, max_size=2))
        features += [kr.FeatureConfig(f"f{index}_{n}", table, hot) for n, hot in enumerate(hotness)]
    return features


def owner_count(plan: TablePlan) -> np.ndarray:
    """Count the shards that contain each row and column."""
    count = np.zeros((plan.table.vocabulary_size, plan.table.embedding_dim), int)
    for shard in plan.shards:
        count[shard.rows.start : shard.rows.stop : shard.rows.step, slice(*shard.columns)] += 1
    return count


def weight_bytes(plan: Plan, rank: int) -> int:
    """Bytes of the weights on a rank, counted shard by shard."""
    total = sum(4 * len(shard.rows) * (shard.columns[1] - shard.columns[0]) for shard in plan.shards(rank))
    copies = sum(4 * each.frequent_rows * each.table.embedding_dim for each in plan.tables)
    return total + (copies if plan.ranks > 1 else 0)


# ---- layout ---------------------------------------------------------------------------------------------------
@given(configs(), st.integers(1, 9), st.sampled_from(["adagrad", "RowwiseAdagrad", "sgd"]))
@settings(max_examples=80, deadline=None)
def test_every_row_and_column_has_one_owner(features, ranks, optimizer):
    plan = kr.parallel.plan(features, ranks, None, 64, optimizer=optimizer)
    assert plan == kr.parallel.plan(features, ranks, None, 64, optimizer=optimizer)
    wanted = {feature.table.name: feature.table for feature in features}
    assert [each.table.name for each in plan.tables] == list(wanted)
    for each in plan.tables:
        assert (owner_count(each) == 1).all()
        assert each.table.placement in (each.placement, "auto")
        for shard in each.shards:
            assert each.shard(shard.rank) == shard
            if each.placement != "column_wise":
                for row in shard.rows[:5]:
                    assert shard.rank == each.ranks[row % len(each.ranks)]
                    assert shard.rows[row // len(each.ranks)] == row
    assert plan.predicted.table_bytes == tuple(weight_bytes(plan, rank) for rank in range(ranks))
    assert "tables over" in str(plan) or "table over" in str(plan)
    assert len(repr(plan)) < 300


@given(configs(), st.integers(1, 6), st.sampled_from(PLACEMENTS[1:]))
@settings(max_examples=60, deadline=None)
def test_plans_from_placements(features, ranks, default):
    plan = plan_from_placements({feature.name: feature for feature in features}, ranks, default)
    for each in plan.tables:
        assert (owner_count(each) == 1).all()
        assert each.placement == (default if each.table.placement == "auto" else each.table.placement)
    step = Step(ranks, 16, 1e9, 1e12, "bfloat16")
    workloads = [TableWorkload(each.table, (1.0,), 1, 0) for each in plan.tables]
    predicted = predict(plan.tables, workloads, step)
    assert predicted.table_bytes == tuple(weight_bytes(plan, rank) for rank in range(ranks))
    assert math.isclose(sum(predicted.sent_bytes), sum(predicted.received_bytes))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("auto", (0,)), "placement must be one of"),
        (("row_wise", ()), "one or more distinct"),
        (("row_wise", (0, 0)), "distinct"),
        (("table_wise", (0, 1)), "must be on one rank"),
        (("column_wise", tuple(range(5))), "cannot spread 4 columns over 5 ranks"),
        (("hybrid", (0, 1), 11), r"a hybrid table must have frequent_rows in \[0, 10\]; got 11"),
        (("row_wise", (0, 1), 1), r"in \[0, 0\]; got 1"),
        (("row_wise", (0, 1), 0, "means"), "exchange must be one of"),
        (("hybrid", (0, 1), 3, "sums"), "needs a combiner and no frequent_rows"),
    ],
)
def test_bad_table_plans_are_refused(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        TablePlan(kr.TableConfig("item", 10, 4), *fields)
    assert "'item'" in str(caught.value)


def test_bad_plans_are_refused():
    one = TablePlan(kr.TableConfig("item", 10, 4), "row_wise", (0, 1))
    with pytest.raises(ValueError, match=r"'item': rank 1 is out of range \[0, 1\)"):
        Plan(1, (one,))
    with pytest.raises(ValueError, match="two tables are named 'item'"):
        Plan(2, (one, one))
    with pytest.raises(KeyError, match="no table 'user'"):
        Plan(2, (one,))["user"]


# ---- costs ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("placement", ["table_wise", "row_wise", "column_wise", "hybrid", "replicated"])
@pytest.mark.parametrize(
    ("hotness", "dtype", "wire"),
    [(1, "float32", "float32"), (3, "float32", "bfloat16"), (1, "float64", "float64")],
)
def test_bytes_are_those_counted_on_drawn_ids(placement, hotness, dtype, wire):
    """A rank's batch is drawn and every message of the exchange counted, as layout and docs say they go."""
    sizes = {"float64": 8, "float32": 4, "bfloat16": 2}
    size, exact = sizes[wire], sizes[dtype]  # of a number on its way, and in the table
    ranks, batch, rows, width, frequent = 4, 3000, 20_000, 12, {"hybrid": 200, "replicated": 20_000}
    table = kr.TableConfig("item", rows, width, placement=placement, frequent_rows=frequent.get(placement))
    each = plan_from_placements([table], ranks)["item"]
    law, rng = Zipf(rows, 1.05), np.random.default_rng(0)
    batches = [np.unique(law(rng.random(batch * hotness))) for _ in range(ranks)]
    touched, copied = np.unique(np.concatenate(batches)), each.frequent_rows
    id_bytes, owners = 2, np.array(each.ranks)
    sent = np.zeros(ranks)
    for rank, ids in enumerate(batches):
        tail, head = ids[ids >= copied], ids[ids < copied]
        for place, owner in enumerate(owners):
            if owner == rank:
                continue
            if placement == "column_wise":
                asked, columns = len(ids), width // len(owners)
            else:
                asked, columns = int((tail % len(owners) == place).sum()), width
            sent[rank] += asked * (id_bytes + size * columns)  # ids, then gradients
            sent[owner] += asked * size * columns  # vectors
            homeward = int((head % len(owners) == place).sum())
            sent[rank] += size * width * homeward + copied / 8 / len(owners)  # named by a bit each
    for place, owner in enumerate(owners):
        changed = int((touched[touched < copied] % len(owners) == place).sum())
        sent[owner] += (ranks - 1) * (exact * width * changed + copied / 8 / len(owners))
    sent += 3 * ranks * 4  # how long each message is
    workload = TableWorkload(table, (float(hotness),), 1, 0, exact)
    predicted = predict([each], [workload], Step(ranks, batch, 1e9, 1e12, wire))
    np.testing.assert_allclose(predicted.sent_bytes, sent, rtol=0.03)


def test_sums_are_vectors_of_lists():
    """Table-wise, 50 ids a row: all ids one way, a vector a row the other, and its gradient back."""
    table = kr.TableConfig("item", 60_000, 16, combiner="sum")
    each = TablePlan(table, "table_wise", (1,), exchange="sums")
    step = Step(2, 100, 1e9, 1e12, "float16")
    predicted = predict([each], [TableWorkload(table, (50.0,), 1, 0)], step)
    ids, vectors, counts = 100 * 50 * 2, 100 * 16 * 2, 3 * 2 * 4
    assert predicted.sent_bytes == (ids + vectors + counts, vectors + counts)
    assert predicted.received_bytes == (vectors + counts, ids + vectors + counts)


@pytest.mark.parametrize(("ranks", "batch", "exponent"), [(4, 4096, 1.2), (8, 65_536, 1.05), (64, 512, 1.05)])
def test_hybrid_sends_no_more_than_row_wise(ranks, batch, exponent):
    rows = 1_000_000
    head = power_law_head(rows, exponent)
    step = Step(ranks, batch, 25e9, 1e12, "float32")
    workload = TableWorkload(kr.TableConfig("item", rows, 32, lookup_cdf=head), (1.0,), 1, 0)

    def sent(frequent):
        plan = TablePlan(workload.table, "hybrid", tuple(range(ranks)), frequent)
        return sum(predict([plan], [workload], step).sent_bytes)

    frequent = frequent_rows(workload, step)
    assert frequent > 0
    best = min(sent(each) for each in range(1, 2 * frequent, 1 + frequent // 100))
    assert best < sent(frequent) < sent(0)
    enough = sent(0) / 3 + best * 2 / 3
    assert sent(frequent) < enough + 0.01 * (sent(0) - best) < sent(frequent + frequent // 50 + 2)


def test_a_fixed_number_of_frequent_rows_is_obeyed():
    tables = [kr.TableConfig("item", 10_000, 16, placement="hybrid", frequent_rows=100)]
    assert kr.parallel.plan(tables, 4, batch_size=256)["item"].frequent_rows == 100


def test_state_of_optimizers():
    kept = {
        "sgd": (0, 0),
        "adagrad": (1, 0),
        "rowwise_adagrad": (0, 1),
        "RowwiseAdagrad": (0, 1),
        "adam": (2, 0),
        "AdamW": (2, 0),
        "ftrl": (2, 0),
    }
    for name, state in kept.items():
        assert optimizer_state(name) == state
    with pytest.raises(ValueError, match="'lion'"):
        optimizer_state("lion")


@pytest.mark.parametrize("name", [name for name in kr.optimizers.__all__ if name != "get"])
def test_state_is_what_optimizers_really_keep(name):
    import keras

    make = getattr(kr.optimizers, name)
    if name == "Multi":
        optimizer = make({"tables": kr.optimizers.RowwiseAdagrad(0.1), "dense": kr.optimizers.SGD(0.1)})
    elif name == "LossScaleOptimizer":
        optimizer = make(kr.optimizers.Adagrad(0.1))
    elif name == "SGD":
        optimizer = make(0.1, momentum=0.9)
    else:
        optimizer = make(0.1)
    table = kr.TableConfig("item", 50, 6)
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", table)})
    layer.build()
    model = keras.Sequential([layer])
    optimizer.build(model.trainable_variables)
    of_tables = optimizer["tables"] if name == "Multi" else getattr(optimizer, "inner_optimizer", optimizer)
    slots = of_tables.table_slots(layer.trainable_variables[0])
    per_weight, per_row = optimizer_state(optimizer)
    assert sum(math.prod(slot.shape) for slot in slots.values()) == 50 * (6 * per_weight + per_row)


def test_a_tables_own_optimizer_wins():
    own = kr.TableConfig("own", 1000, 8, optimizer=kr.optimizers.Adam(0.1))
    plan = kr.parallel.plan([own, kr.TableConfig("other", 1000, 8)], 1, optimizer="sgd")
    assert plan.predicted.state_bytes == (2 * 1000 * 8 * 4,)


def test_float64_takes_twice_the_memory_and_the_bytes():
    tables = [kr.TableConfig("item", 50_000, 16, placement="row_wise")]
    half, whole = (kr.parallel.plan(tables, 4, None, 1000, dtype=dtype) for dtype in ("float32", "float64"))
    for kept in ("table_bytes", "state_bytes"):
        ours, theirs = getattr(whole.predicted, kept), getattr(half.predicted, kept)
        assert ours == tuple(2 * each for each in theirs)
    ids = half.predicted.sent_bytes[0] * 3 / (3 + 2 * 16 * 4)  # 3 bytes an id beside a vector and its gradient
    assert whole.predicted.sent_bytes[0] == pytest.approx(2 * half.predicted.sent_bytes[0] - ids, rel=0.01)
    narrow = kr.parallel.plan(tables, 4, None, 1000, dtype="float64", wire_dtype="float32")
    assert narrow.predicted.sent_bytes == half.predicted.sent_bytes
    with pytest.raises(ValueError, match=r"dtype must be one of \['float32', 'float64'\]; got 'float16'"):
        kr.parallel.plan(tables, 4, dtype="float16")


# ---- search ---------------------------------------------------------------------------------------------------
@given(configs(100_000), st.integers(1, 9), st.floats(0.02, 3))
@settings(max_examples=80, deadline=None)
def test_memory_is_enough_or_refused(features, ranks, tightness):
    """The limit is a multiple of an even share of tables and state."""
    tables = {feature.table.name: feature.table for feature in features}
    share = sum(8 * table.vocabulary_size * table.embedding_dim for table in tables.values()) / ranks
    limit = int(tightness * share) + 1
    try:
        plan = kr.parallel.plan(features, ranks, limit, 16)
    except DoesNotFit:
        return
    assert max(plan.predicted.memory) <= limit
    assert plan.memory == limit


def test_the_smallest_number_of_ranks():
    tables = [kr.TableConfig(f"t{index}", 1_000_000, 32) for index in range(10)]
    plan = kr.parallel.plan(tables, memory="500MiB", batch_size=1024)
    assert max(plan.predicted.memory) <= 500 * 2**20
    assert sum(plan.predicted.table_bytes) + sum(plan.predicted.state_bytes) > (plan.ranks - 1) * 490 * 2**20
    with pytest.raises(DoesNotFit, match=f"at least {plan.ranks} ranks"):
        kr.parallel.plan(tables, plan.ranks - 1, "500MiB", 1024)
    with pytest.raises(DoesNotFit, match="a smaller batch than 1,024 rows"):
        kr.parallel.plan(tables, memory="1MiB", batch_size=1024)


def test_what_does_not_fit_is_short_by_what_is_told():
    """With what it needs a rank it fits, and with less than an even share it never does."""
    tables = [kr.TableConfig(f"t{index}", 40_000 + index, 32) for index in range(7)]

    def refused(memory):
        with pytest.raises(DoesNotFit) as told:
            kr.parallel.plan(tables, 3, memory, 64)
        found = re.search(r"the fullest rank, \d, needs ([\d.]+) MiB .*, ([\d.]+) MiB over its", str(told.value))
        return [float(each) * 2**20 for each in found.groups()]

    limit = 10 * 2**20
    need, short = refused(limit)
    assert need - short == pytest.approx(limit, rel=0.02)  # three digits are told
    assert max(kr.parallel.plan(tables, 3, int(1.01 * need), 64).predicted.memory) <= 1.01 * need
    even = sum(2 * 4 * each.vocabulary_size * each.embedding_dim for each in tables) / 3
    assert need >= even
    less, _ = refused(int(0.9 * even))
    assert less >= even


def test_a_table_that_fits_no_rank_whole_is_named():
    tables = [kr.TableConfig("item", 1_000_000, 64, placement="table_wise"), kr.TableConfig("user", 10, 8)]
    with pytest.raises(DoesNotFit, match="placement 'auto' for table 'item', which needs 488 MiB table_wise"):
        kr.parallel.plan(tables, 8, "300MiB", 64)


def test_multi_hot_tables_exchange_sums():
    history = kr.TableConfig("item", 10_000_000, 64, combiner="sum")
    plan = kr.parallel.plan([kr.FeatureConfig("history", history, hotness=100)], 8, batch_size=1024)
    assert plan["item"].exchange == "sums"
    by_nodes = kr.parallel.plan(
        [kr.FeatureConfig("history", history, hotness=100)], 8, batch_size=1024, ranks_per_node=4
    )
    assert by_nodes["item"].exchange == "rows"
    apart = kr.TableConfig("item", 10_000_000, 64, combiner=None)
    plan = kr.parallel.plan([kr.FeatureConfig("history", apart, hotness=100)], 8, batch_size=1024)
    assert plan["item"].exchange == "rows"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranks": 0}, "ranks must be an integer >= 1; got 0"),
        ({"ranks": 2, "batch_size": 1.5}, "batch_size"),
        ({"memory": None}, "ranks and memory are both None"),
        ({"memory": "eighty"}, "got 'eighty'"),
        ({"memory": -1}, "got -1"),
        ({"bandwidth": 0}, "bandwidth must be > 0 bytes per second; got 0"),
        ({"wire_dtype": "int8"}, "wire_dtype must be one of"),
        ({"optimizer": "lion"}, "'lion'"),
        ({"tables": []}, "tables is empty"),
        ({"tables": [3]}, "got 3"),
        ({"tables": [kr.TableConfig("a", 3, 4), kr.TableConfig("a", 4, 4)]}, "two different tables are named 'a'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kr.parallel.plan(**{"tables": [kr.TableConfig("a", 3, 4)], **arguments})


def test_sizes_in_words():
    assert parse_bytes("80GiB") == 80 * GIB
    assert parse_bytes("1.5 GB") == 1_500_000_000
    assert parse_bytes("512kb") == 512_000
    assert parse_bytes("7") == parse_bytes(7) == 7


def test_planning_needs_no_framework():
    script = (
        "import sys, kerasrec as kr;"
        "print(kr.parallel.plan([kr.TableConfig('a', 10**9, 64)], 64, optimizer='adam'));"
        "assert not {'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


# ---- the six synthetic models -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["tiny", "small", "medium", "large", "jumbo", "colossal"])
def test_synthetic_models_beat_table_wise_placement(name):
    model = synthetic_model(name)
    bench = benchmark()
    ranks = bench.RANKS[name]
    figures = bench.compare(model, ranks, 65_536 // ranks, 80 * GIB, "RowwiseAdagrad")
    assert figures["tables"] == model["num_tables"]
    assert figures["ours"]["fits"]
    assert figures["ours"]["worst_ms"] < figures["round_robin"]["worst_ms"]
    assert figures["ours"]["worst_ms"] < figures["size_sorted"]["worst_ms"]


def test_colossal_says_what_is_too_much():
    bench = benchmark()
    features = bench.features_of(synthetic_model("colossal"))
    with pytest.raises(DoesNotFit, match=r"2,002 tables do not fit 512 x 80 GiB.*such as RowwiseAdagrad"):
        kr.parallel.plan(features, 512, "80GiB", 128, optimizer="adagrad")
    with pytest.raises(
        DoesNotFit, match=r"do not fit 128 x 80 GiB: .* 10\d GiB over its limit.*at least 30\d ranks"
    ):
        kr.parallel.plan(features, 128, "80GiB", 512, optimizer="RowwiseAdagrad")
    plan = kr.parallel.plan(features, 512, "80GiB", 128, optimizer="RowwiseAdagrad")
    assert sum(plan.predicted.table_bytes) / GIB == pytest.approx(22_327, rel=0.001)  # copies are next to nothing
    assert len(str(plan).splitlines()) < 60
