"""Training on several ranks against one process with the global batch."""

import json
from shutil import which

import equivalence_cases
import numpy as np
import pytest
from ranks import Ranks

from kerasrec.parallel import comm

PLACEMENTS = ("row_wise", "table_wise", "column_wise", "replicated", "hybrid")


def same(placement):
    return dict.fromkeys(equivalence_cases.SIZES, placement)


MIXED = {"item": "hybrid", "tag": "column_wise", "tiny": "table_wise"}


def case(placements, optimizer="sgd", combiner="mean", **more):
    return {"placements": placements, "optimizer": optimizer, "combiner": combiner, "frequent": 2, **more}


def beside_the_product():
    """What `test_combinations.py` lacks: tables of several widths under the model's own optimizer, and float64."""
    return [
        case(MIXED, "adagrad", "sum", weighted=True),
        case(same("row_wise"), "adam", "sqrtn"),
        case(same("row_wise"), "clipnorm"),
        case(same("row_wise"), "global_clipnorm"),
        case(MIXED, "ftrl", "sum", sums=True, weighted=True),
        case(same("row_wise"), "adamw", "sqrtn", sums=True),
        *(
            case(
                {"item": placement, "tag": other, "tiny": placement},
                optimizer,
                dtype="float64",
                wire_dtype="float64",
                **more,
            )
            for placement, other, optimizer, more in (
                ("row_wise", "table_wise", "sgd", {"weighted": True}),
                ("hybrid", "column_wise", "adagrad", {}),
                ("replicated", "row_wise", "sgd", {"sums": True}),
            )
        ),
    ]


def every_placement(**more):
    """Each placement with SGD, which hides no factor."""
    return [case(same(placement), **more) for placement in PLACEMENTS]


def check(cases, ranks):
    trained = ranks.run(equivalence_cases.run, cases, limit=400).returned[0]
    assert comm.size() == 1
    alone = {}
    for each, many in zip(cases, trained, strict=True):
        kind = json.dumps({key: value for key, value in each.items() if key != "placements"})
        one = alone[kind] if kind in alone else alone.setdefault(kind, equivalence_cases.train(each))
        bar = 1e-10 if each.get("dtype") == "float64" else 1e-4
        np.testing.assert_allclose(many["losses"], one["losses"], rtol=bar, err_msg=str(each))
        for weights in ("dense", *equivalence_cases.SIZES):
            np.testing.assert_array_equal(many[f"{weights}_before"], one[f"{weights}_before"])
            moved = one[weights] - one[f"{weights}_before"]
            assert np.abs(moved).max() > 1e-2, f"{each}: {weights} hardly moved"
            apart = np.linalg.norm(many[weights] - one[weights]) / np.linalg.norm(moved)
            assert apart <= bar, f"{each}: {weights} differ by {apart:.1e} of the way they went"


@pytest.mark.parametrize("horovod_ranks", [2, pytest.param(3, marks=pytest.mark.nightly)], indirect=True)
def test_ranks_train_as_one_process(horovod_ranks):
    check(beside_the_product(), horovod_ranks)


@pytest.mark.nightly
@pytest.mark.parametrize("horovod_ranks", [2, 3], indirect=True)
def test_every_placement_trains_as_in_one_process(horovod_ranks):
    check(every_placement(), horovod_ranks)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("horovod_ranks", [4], indirect=True)
def test_ranks_of_two_nodes_train_as_one_process(horovod_ranks):
    """Every placement on two nodes of two, and one model on four ranks side by side."""
    cases = [
        case(MIXED, "adam", ranks_per_node=2, weighted=True),
        case(same("row_wise"), sums=True, ranks_per_node=2),
        case(same("replicated"), ranks_per_node=2),
        case(MIXED, "adagrad", sums=True),
    ]
    check(cases, horovod_ranks)


@pytest.mark.nightly
@pytest.mark.parametrize("horovod_ranks", [4], indirect=True)
def test_every_placement_on_two_nodes_trains_as_in_one_process(horovod_ranks):
    check([*every_placement(ranks_per_node=2), case(MIXED, "adagrad")], horovod_ranks)


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.parametrize("by", ["horovodrun --mpi", "mpirun"])
def test_ranks_that_speak_mpi_train_as_one(by):
    hvd = pytest.importorskip("horovod.tensorflow")
    if not hvd.mpi_built():
        pytest.skip("Horovod was built without MPI")
    if which("mpirun") is None:
        pytest.skip("there is no mpirun")
    cases = [*every_placement(), case(MIXED, "adagrad", "sum", weighted=True), case(MIXED, "adagrad", sums=True)]
    ranks = Ranks(2, by=by)
    check(cases, ranks)
    ranks.stop()
