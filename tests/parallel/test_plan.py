"""Table configs and how tables are stacked."""

import pytest

from kerasrec.parallel.plan import stack_tables
from kerasrec.parallel.tables import TableConfig


def test_tables_of_one_width_share_a_stack():
    a, b, c = TableConfig("a", 10, 8), TableConfig("b", 5, 16), TableConfig("c", 7, 8)
    stacks = stack_tables([a, b, c, a])
    assert [(stack.embedding_dim, stack.tables) for stack in stacks] == [(8, (a, c)), (16, (b,))]
    assert stacks[0].offsets == {"a": 0, "c": 10}
    assert [stack.rows for stack in stacks] == [17, 5]


def test_one_name_is_one_table():
    with pytest.raises(ValueError, match="two different tables are named 'a'"):
        stack_tables([TableConfig("a", 10, 8), TableConfig("a", 11, 8)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 10, 8), "needs a name"),
        (("a", 0, 8), "vocabulary_size"),
        (("a", 10, 1.5), "embedding_dim"),
        (("a", 10, 8, "max"), "combiner"),
        (("a", 10, 8, "sum", "uniform", "moon"), "placement"),
    ],
)
def test_bad_config(arguments, message):
    with pytest.raises(ValueError, match=message):
        TableConfig(*arguments)
