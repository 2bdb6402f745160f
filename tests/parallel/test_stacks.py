"""Table configs and how tables are stacked."""

import pytest

import kerasrec as kr
from kerasrec.tables.config import TableConfig
from kerasrec.tables.stack import stack_tables


def test_tables_of_one_width_share_a_stack():
    a, b, c = TableConfig("a", 10, 8), TableConfig("b", 5, 16), TableConfig("c", 7, 8)
    stacks = stack_tables([a, b, c, a])
    assert [(stack.embedding_dim, stack.tables) for stack in stacks] == [(8, (a, c)), (16, (b,))]
    assert stacks[0].offsets == {"a": 0, "c": 10}
    assert [stack.rows for stack in stacks] == [17, 5]


def test_one_name_is_one_table():
    with pytest.raises(ValueError, match="two different tables are named 'a'"):
        stack_tables([TableConfig("a", 10, 8), TableConfig("a", 11, 8)])


def test_tables_with_optimizers_alike_share_a_stack_and_it():
    def table(name, width, rate):
        return TableConfig(name, 10, width, optimizer=rate and kr.optimizers.Adagrad(rate))

    plain, a, b, c, wide = (
        table("p", 8, None),
        table("a", 8, 0.1),
        table("b", 8, 0.2),
        table("c", 8, 0.1),
        table("w", 4, 0.1),
    )
    stacks = stack_tables([plain, a, b, c, wide])
    assert [stack.tables for stack in stacks] == [(plain,), (a, c), (b,), (wide,)]
    assert [stack.name for stack in stacks] == ["tables_8", "tables_8_2", "tables_8_3", "tables_4"]
    first, second, third, fourth = (stack.optimizer for stack in stacks)
    assert first is None
    assert second is fourth
    assert isinstance(second, kr.optimizers.Adagrad)
    assert float(third.learning_rate) == pytest.approx(0.2)


def test_optimizer_is_kept_serialised():
    given = kr.optimizers.Adagrad(0.1)
    table = TableConfig("a", 10, 8, optimizer=given)
    assert table == TableConfig("a", 10, 8, optimizer=kr.optimizers.Adagrad(0.1))
    assert table == TableConfig("a", 10, 8, optimizer=table.optimizer)
    assert table.optimizer["class_name"] == "Adagrad"
    with pytest.raises(ValueError, match="table 'a': optimizer must be a keras.optimizers .*; got 'no such'"):
        TableConfig("a", 10, 8, optimizer="no such")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 10, 8), "name must not be empty"),
        (("a", 0, 8), "vocabulary_size"),
        (("a", 10, 1.5), "embedding_dim"),
        (("a", 10, 8, "max"), "combiner"),
        (("a", 10, 8, "sum", "uniform", "moon"), "placement"),
    ],
)
def test_bad_config(arguments, message):
    with pytest.raises(ValueError, match=message):
        TableConfig(*arguments)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frequent_rows": 11}, "must be in \\[0, 10\\], .*; got 11"),
        ({"lookup_cdf": (0.5, 0.4)}, "lookup_cdf must be increasing from 0 to 1"),
        ({"lookup_cdf": (0.5, 1.1)}, "lookup_cdf must be increasing from 0 to 1"),
    ],
)
def test_bad_facts_for_the_plan(fields, message):
    with pytest.raises(ValueError, match=message):
        TableConfig("a", 10, 8, **fields)


@pytest.mark.parametrize("hotness", [-1, float("nan"), float("inf")])
def test_bad_hotness(hotness):
    with pytest.raises(ValueError, match="feature 'f': hotness"):
        kr.FeatureConfig("f", TableConfig("a", 10, 8), hotness)
