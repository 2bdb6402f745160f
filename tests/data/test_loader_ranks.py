"""One loader per rank: together they read every row once, in equally many batches; each decodes only its part."""

import math
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loader_data import make_schema, make_table, rows_of, rows_on_disk, write

from kerasrec.data import Loader
from kerasrec.data.decode import arrow
from kerasrec.data.files.row_groups import RowGroup
from kerasrec.data.rank_split import RankSplit
from kerasrec.data.shuffle import pools
from kerasrec.parallel import comm


def write_files(folder, files):
    """One file for each of `files`, a list of its row groups' sizes; rows are numbered through all of them."""
    table, start = make_table(sum(map(sum, files))), 0
    for index, sizes in enumerate(files):
        with pq.ParquetWriter(folder / f"part-{index:05d}.parquet", table.schema) as writer:
            for size in sizes:
                writer.write_table(table.slice(start, size))
                start += size
    make_schema().save(folder)


def loaders(source, ranks, batch_size, **arguments):
    return [Loader(source, batch_size, rank=rank, ranks=ranks, **arguments) for rank in range(ranks)]


def numbers(loader):
    """Which rows a pass yields, batch by batch."""
    return [features["row"].tolist() for features, _ in loader]


def flat(batches):
    return [row for batch in batches for row in batch]


files_of_row_groups = st.lists(st.lists(st.integers(1, 30), max_size=6), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    files=files_of_row_groups,
    ranks=st.integers(1, 7),
    batch_size=st.integers(1, 20),
    pool_rows=st.integers(1, 80),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**70),
)
def test_ranks_share_the_rows(files, ranks, batch_size, pool_rows, shuffle, drop_last, seed):
    total = sum(map(sum, files))
    assume(total >= ranks * (batch_size if drop_last else 1))
    assume(drop_last or batch_size > 1 or total % ranks == 0)
    with TemporaryDirectory() as name:
        write_files(Path(name), files)
        arguments = {"shuffle": shuffle, "seed": seed, "pool_rows": pool_rows, "drop_last": drop_last}
        shares = loaders(name, ranks, batch_size, **arguments)
        first, second = ([list(loader) for loader in shares] for _ in range(2))
        expected = rows_on_disk(Path(name))
        again = loaders(name, ranks, batch_size, **arguments)
        for loader in again:
            loader.epoch = 1
        assert [numbers(loader) for loader in again] == [
            [features["row"].tolist() for features, _ in batches] for batches in second
        ]
    for epoch in (first, second):
        per_rank = [
            [row for features, target in batches for row in rows_of(features, target)] for batches in epoch
        ]
        everything = flat(per_rank)
        sizes = [[len(target) for _, target in batches] for batches in epoch]
        assert {len(each) for each in sizes} == {len(loader) for loader in shares}
        assert len({len(loader) for loader in shares}) == 1
        assert all(1 <= size <= batch_size for each in sizes for size in each)
        assert [each[-1] % batch_size for each in sizes] == [loader.partial_batch_size for loader in shares]
        if drop_last:
            assert sum(map(sum, sizes)) == total // ranks // batch_size * batch_size * ranks
            assert len(set(everything)) == len(everything)
            assert set(everything) <= set(expected)
        else:
            assert sorted(everything) == sorted(expected)
            assert [sum(each) for each in sizes] == [loader.num_rows for loader in shares]
            assert all(set(each[:-2]) <= {batch_size} for each in sizes)  # only the last two make up for a row
        if not shuffle:
            for rank, rows in enumerate(per_rank):  # each rank's are a run of the file's rows, from its border on
                start = total * rank // ranks
                assert rows == expected[start : start + len(rows)]
    held = [loader.num_rows for loader in shares]
    assert max(held) - min(held) <= 1
    assert sum(held) == total == shares[0].total_rows


@settings(max_examples=300, deadline=None)
@given(
    total=st.integers(1, 400),
    ranks=st.integers(1, 7),
    batch_size=st.integers(1, 30),
    drop_last=st.booleans(),
    most=st.integers(1, 20),
)
def test_shares_are_even_or_impossible(total, ranks, batch_size, drop_last, most):
    """Refused is only what cannot be: fewer rows than are needed, or batches of one that do not come out even."""
    possible = total >= ranks * batch_size if drop_last else total >= ranks
    possible = possible and (drop_last or batch_size > 1 or total % ranks == 0)
    if not possible:
        with pytest.raises(ValueError, match=f"^{total} rows, "):
            RankSplit(total, 0, ranks, batch_size, drop_last)
        return
    shares = [RankSplit(total, rank, ranks, batch_size, drop_last) for rank in range(ranks)]
    sizes = [list(share.sizes()) for share in shares]
    assert {len(each) for each in sizes} == {shares[0].batches}
    assert all(1 <= size <= batch_size for each in sizes for size in each)
    assert [each[-1] for each in sizes] == [share.last for share in shares]
    assert {share.full for share in shares} == {set(flat(sizes)) == {batch_size}}
    held = [len(share.span) for share in shares]
    assert shares[0].batches == (min(held) // batch_size if drop_last else math.ceil(max(held) / batch_size))
    assert [row for share in shares for row in share.span] == list(range(total))
    fewer = [RankSplit(total, rank, ranks, batch_size, drop_last, most) for rank in range(ranks)]
    assert [list(share.sizes()) for share in fewer] == [each[:most] for each in sizes]
    assert {share.batches for share in fewer} == {min(most, shares[0].batches)}
    assert [each[:most][-1] for each in sizes] == [share.last for share in fewer]
    assert {share.full for share in fewer} == {set(flat([each[:most] for each in sizes])) == {batch_size}}


def test_one_row_more_is_one_batch_more(tmp_path):
    """9 rows on 2 ranks in batches of 4: rank 1 has 5 rows, so rank 0 cuts its 4 in two as well."""
    write_files(tmp_path, [[9]])
    first, second = loaders(tmp_path, 2, 4)
    assert numbers(first) == [[0, 1, 2], [3]]
    assert numbers(second) == [[4, 5, 6, 7], [8]]
    assert (first.partial_batch_size, second.partial_batch_size) == (1, 1)
    assert numbers(Loader(tmp_path, 4, rank=0, ranks=2, drop_last=True)) == [[0, 1, 2, 3]]


@settings(max_examples=60, deadline=None)
@given(
    files=files_of_row_groups,
    ranks=st.integers(1, 7),
    pool_rows=st.integers(1, 200),
    seed=st.none() | st.integers(0, 99),
)
def test_pools_cut_only_where_a_span_begins_and_ends(files, ranks, pool_rows, seed):
    chunks = [
        RowGroup(Path(str(number)), index, rows)
        for number, sizes in enumerate(files)
        for index, rows in enumerate(sizes)
    ]
    total = sum(chunk.rows for chunk in chunks)
    assume(total >= ranks)
    covered = []
    for rank in range(ranks):
        rng = None if seed is None else np.random.default_rng(seed)
        found = list(pools(chunks, RankSplit(total, rank, ranks, 30).span, pool_rows, rng))
        mine = [chunk for pool in found for chunk in pool]
        assert all(sum(chunk.rows for chunk in pool) >= pool_rows for pool in found[:-1])
        assert sum(chunk.start is not None for chunk in mine) <= 2
        places = [[(int(str(chunk.path)), chunk.index) for chunk in pool] for pool in found]
        assert all(pool == sorted(pool) for pool in places)
        for chunk, place in zip(mine, flat(places), strict=True):
            start = chunk.start or 0
            covered += [(place, row) for row in range(start, start + chunk.rows)]
    assert sorted(covered) == [
        ((number, index), row)
        for number, sizes in enumerate(files)
        for index, rows in enumerate(sizes)
        for row in range(rows)
    ]


def test_one_rank_shuffles_as_its_law_says(tmp_path):
    """Row groups permuted, pools of whole ones in file order, their rows permuted: of one stream."""
    sizes = [30, 7, 50, 12, 1, 25, 40]
    write_files(tmp_path, [sizes[:3], sizes[3:]])
    loader = Loader(tmp_path, 16, shuffle=True, seed=5, pool_rows=60)
    starts = list(accumulate(sizes, initial=0))
    for epoch in range(2):
        rng = np.random.default_rng([5, epoch])
        expected, pool = [], []
        order = rng.permutation(len(sizes))
        for index in order:
            pool.append(index)
            if sum(sizes[each] for each in pool) >= 60 or index == order[-1]:
                rows = np.concatenate([np.arange(starts[each], starts[each + 1]) for each in sorted(pool)])
                expected += rows[rng.permutation(len(rows))].tolist()
                pool = []
        assert flat(numbers(loader)) == expected


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("ranks", [2, 5])
def test_a_rank_decodes_its_part(tmp_path, monkeypatch, shuffle, ranks):
    rng = np.random.default_rng(0)
    write_files(tmp_path, [rng.integers(1, 100, 20).tolist() for _ in range(4)])
    decoded, decode = [], arrow._decode

    def counting(*arguments):
        table = decode(*arguments)
        decoded.append(table.num_rows)
        return table

    monkeypatch.setattr(arrow, "_decode", counting)
    for loader in loaders(tmp_path, ranks, 64, shuffle=shuffle, pool_rows=300):
        decoded.clear()
        assert len(flat(numbers(loader))) == loader.num_rows
        assert loader.num_rows <= sum(decoded) <= loader.num_rows + 2 * 100
        assert sum(decoded) < 1.25 * loader.total_rows / ranks


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("lists", ["ragged", "padded"])
def test_row_groups_larger_than_a_share(tmp_path, shuffle, lists):
    write(tmp_path, make_table(103), row_group_rows=103)
    shares = loaders(tmp_path, 4, 10, shuffle=shuffle, lists=lists)
    found = [row for loader in shares for features, target in loader for row in rows_of(features, target)]
    assert len(shares[0]) == 3
    assert sorted(found) == rows_on_disk(tmp_path)


def test_parts_of_neighbours_are_not_taken_for_whole(tmp_path):
    """A share that begins in a file's first row group and ends in its second, or with no whole one between."""
    write_files(tmp_path, [[10, 10], [10]])
    assert [flat(numbers(loader)) for loader in loaders(tmp_path, 4, 9)] == [
        list(range(7)),
        list(range(7, 15)),
        list(range(15, 22)),
        list(range(22, 30)),
    ]


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.int32()), pa.list_(pa.int32(), 2)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_lists_of_every_kind_are_cut(tmp_path, kind, shuffle):
    values = [None if row % 5 == 2 else [row % 50, (row + 1) % 50] for row in range(50)]
    write(tmp_path, make_table(50).set_column(3, "tags", pa.array(values, kind)), row_group_rows=30)
    shares = loaders(tmp_path, 4, 5, shuffle=shuffle)
    found = [row for loader in shares for features, target in loader for row in rows_of(features, target)]
    assert {row[0]: row[3] for row in found} == {row: tuple(tags or ()) for row, tags in enumerate(values)}


def test_values_are_checked_by_the_rank_that_reads_them(tmp_path):
    table = make_table(100)
    users = table["user"].to_pylist()
    users[60] = 77
    table = table.set_column(1, "user", [np.array(users, "int32")])
    write(tmp_path, table, write_statistics=False)
    first, second = loaders(tmp_path, 2, 10)
    assert len(list(first)) == 5
    with pytest.raises(ValueError, match="part-00000.parquet: column 'user': id 77"):
        list(second)


def test_shuffled_rows_go_to_every_rank_and_place(tmp_path):
    """Each row group is as often on each rank, and each row's mean place in its rank's pass is the middle."""
    rows, ranks, epochs = 1200, 4, 150
    write(tmp_path, make_table(rows), files=3, row_group_rows=20)
    count, places = np.zeros((rows // 20, ranks)), np.zeros(rows)
    for rank, loader in enumerate(loaders(tmp_path, ranks, 100, shuffle=True, columns=["row"], pool_rows=100)):
        for _ in range(epochs):
            passed = np.concatenate([features["row"] for features, _ in loader])
            np.add.at(count[:, rank], passed // 20, 1 / 20)
            places[passed] += np.arange(len(passed))
    chi_squared = ((count - epochs / ranks) ** 2 / (epochs / ranks)).sum()
    assert chi_squared < 254  # the 99.99% point at 59 x 3 degrees of freedom is 253.9
    assert np.abs(places / epochs - rows / ranks / 2).max() < 5 * rows / ranks / np.sqrt(12 * epochs)


def test_ranks_permute_by_streams_of_their_own(tmp_path):
    """Row groups of equal length: were they permuted alike, a step's rows would be the same places of each."""
    write(tmp_path, make_table(400), row_group_rows=100)
    places = [np.array(flat(numbers(loader))) % 100 for loader in loaders(tmp_path, 4, 10, shuffle=True)]
    for one in range(4):
        for other in range(one):
            assert np.mean(places[one] == places[other]) < 0.1


def test_epochs_and_seeds_differ_on_every_rank(tmp_path):
    write(tmp_path, make_table(400), row_group_rows=30)
    for rank in range(3):
        passes = []
        for seed in (1, 2):
            loader = Loader(tmp_path, 50, shuffle=True, seed=seed, rank=rank, ranks=3)
            passes += [tuple(flat(numbers(loader))) for _ in range(3)]
        assert len(set(passes)) == len({frozenset(each) for each in passes}) == 6  # other rows, too


def test_datasets_have_one_shape_on_all_ranks(tmp_path):
    """Ranks trace one graph: where one has a short batch, no rank's batches have a fixed size."""
    write(tmp_path, make_table(127))
    shares = loaders(
        tmp_path, 4, 16, lists="padded"
    )  # shares of 31, 32, 32, 32 rows: only rank 0 has a short batch
    assert [loader.partial_batch_size for loader in shares] == [15, 0, 0, 0]
    shapes = {str(loader.get_tf_dataset().element_spec) for loader in shares}
    assert len(shapes) == 1
    assert all(len(list(loader.get_tf_dataset())) == 2 for loader in shares)
    even = Loader(tmp_path, 16, lists="padded", rank=2, ranks=4, drop_last=True)
    assert even.get_tf_dataset().element_spec[1].shape.as_list() == [16, 1]


def test_predictions_of_ranks_follow_each_other_in_file_order(tmp_path):
    class Echo(keras.Model):
        def call(self, features):
            return keras.ops.cast(features["row"], "float32")[:, None]

    write(tmp_path, make_table(1001), files=3)
    predicted = [Echo().predict(loader, verbose=0)[:, 0] for loader in loaders(tmp_path, 3, 64)]
    assert np.concatenate(predicted).tolist() == list(range(1001))


def test_the_ranks_are_the_jobs_if_not_given(tmp_path):
    write(tmp_path, make_table(10))
    loader = Loader(tmp_path, 3)
    assert (loader.rank, loader.ranks) == (comm.rank(), comm.size()) == (0, 1)
    assert (loader.num_rows, loader.total_rows) == (10, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 4, "ranks": 4}, r"rank must be in \[0, 4\) for ranks=4; got 4"),
        ({"rank": -1, "ranks": 4}, "rank must be an integer >= 0; got -1"),
        ({"rank": 0, "ranks": 0}, "ranks must be an integer >= 1; got 0"),
        ({"rank": 0}, "pass rank and ranks together; got rank=0, ranks=None"),
        ({"ranks": 2}, "pass rank and ranks together; got rank=None, ranks=2"),
        ({"rank": 0, "ranks": 11}, "part-00000.parquet has 10 rows, fewer than the 11 ranks: every rank needs"),
        (
            {"rank": 1, "ranks": 4, "batch_size": 3, "drop_last": True},
            "has 10 rows, fewer than one batch of 3 on each of 4 ranks, and drop_last=True",
        ),
        (
            {"rank": 0, "ranks": 4, "batch_size": 1},
            "has 10 rows, which cannot be split over 4 ranks in batches of one row without an empty batch",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(tmp_path, arguments, message):
    write(tmp_path, make_table(10))
    with pytest.raises(ValueError, match=message):
        Loader(tmp_path, **arguments)


def test_repr(tmp_path):
    write(tmp_path, make_table(1000))
    text = repr(Loader(tmp_path, 64, rank=1, ranks=4))
    assert "1,000 rows in 10 row groups, in file order" in text
    assert "rank 1 of 4: 250 rows (250 to 499), 4 batches of 64, the last of 58" in text
    assert "rank 3 of 4: 250 rows, 4 batches" in repr(Loader(tmp_path, 64, shuffle=True, rank=3, ranks=4))


def test_what_to_read_is_planned_without_a_framework():
    script = "import sys, kerasrec.data.files.row_groups, kerasrec.data.shuffle, kerasrec.data.arguments\n"
    script += "assert not {'keras', 'tensorflow', 'horovod'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
