"""Arguments of NVTabular's operators are refused with what they are called here."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from kerasrec import etl

# Of NVTabular 23.8's operators that exist here, all arguments that ours do not take.
STORED = ["out_path", "cat_cache", "on_host", "split_out", "split_every", "tree_width"]
GIVEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "Categorify": (
        {},
        [*STORED, "freq_threshold", "dtype", "encode_type", "name_sep", "search_sorted", "single_table"]
        + ["cardinality_memory_limit", "start_index", "na_sentinel"],
    ),
    "Clip": ({}, ["min_value", "max_value"]),
    "ColumnSimilarity": ({}, ["on_device"]),
    "FillMissing": ({}, ["fill_val"]),
    "JoinExternal": ({"df_ext": None, "on": "a"}, ["kind_ext", "cache"]),
    "JoinGroupby": ({}, STORED),
    "LambdaOp": ({"f": abs}, ["dependency", "label", "dtype", "tags", "properties"]),
    "Normalize": ({}, ["out_dtype"]),
    "NormalizeMinMax": ({}, ["out_dtype"]),
    "ReduceDtypeSize": ({}, ["float_dtype"]),
    "Rename": ({}, ["f", "name"]),
    "TargetEncoding": ({"target": "y"}, [*STORED, "out_col", "out_dtype", "drop_folds"]),
}
WAY_OUT = r"(use |leave it out|>>)"


@pytest.mark.parametrize(("op", "argument"), [(op, name) for op, (_, names) in GIVEN.items() for name in names])
def test_named_as_here(op: str, argument: str) -> None:
    with pytest.raises(TypeError, match=f"^{op} has no argument '{argument}': .*{WAY_OUT}"):
        getattr(etl, op)(**{**GIVEN[op][0], argument: 1})


NAMES = {
    "Dropna": r"DropNA",
    "TagAsUserID": r'AddTags\("user_id"\)',
    "AddMetadata": "AddTags",
    "ColumnSelector": "a list of names",
    "Tags": r"kr\.Tag",
    "Catgorify": "Categorify",
    "fillmissing": "FillMissing",
    "Splitstring": "SplitString",
}


@pytest.mark.parametrize("name", NAMES)
def test_an_operator_of_another_name_is_suggested(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'kerasrec.etl' has no attribute '{name}'; .*{NAMES[name]}"):
        getattr(etl, name)
    assert not hasattr(etl, name)


def test_the_public_names_are_listed() -> None:
    assert dir(etl) == sorted(etl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Qqq'; available: AddTags, Bucketize, "):
        etl.Qqq  # noqa: B018


def test_other_arguments_and_copies() -> None:
    with pytest.raises(TypeError, match="Clip has no argument 'minimum'; available: min, max"):
        etl.Clip(minimum=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="LogOp has no argument 'base'; available: none"):
        etl.LogOp(base=2)  # type: ignore[call-arg]
    for op in (etl.Clip(min=1), etl.Categorify(min_count={"a": 2})):
        assert copy.deepcopy(op) == op == pickle.loads(pickle.dumps(op))
