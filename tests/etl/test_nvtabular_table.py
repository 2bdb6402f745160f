"""docs/nvtabular.md has a row for each operator, and a test behind each row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kerasrec import etl

DOCS = Path(__file__).parent.parent.parent / "docs"
NVTABULAR = """
AddMetadata AddProperties AddTags TagAsItemFeatures TagAsItemID TagAsUserFeatures TagAsUserID Bucketize
Categorify Clip ColumnSimilarity DataStats DifferenceLag DropLowCardinality Dropna FillMedian FillMissing Filter
Groupby HashBucket HashedCross JoinExternal JoinGroupby LambdaOp ListSlice LogOp Normalize NormalizeMinMax
ReduceDtypeSize Rename TargetEncoding ValueCount
"""  # nvtabular.ops of 23.8
OPTIONS = """
tags boundaries freq_threshold out_path cat_cache dtype on_host encode_type name_sep search_sorted num_buckets
vocabs max_size single_table cardinality_memory_limit tree_width split_out split_every min_value max_value
left_features right_features metric on_device partition_cols shift min_cardinality fill_val add_binary_cols f
groupby_cols sort_cols aggs ascending df_ext on how on_ext columns_ext drop_duplicates_ext kind_ext cache
cont_cols stats dependency start end pad pad_value out_dtype float_dtype postfix name target target_mean kfold
fold_seed p_smooth out_col drop_folds
"""  # of their constructors
SPLITS = ("Sequences", "SplitByTime", "SplitLeaveOneOut", "SplitRandom")


def rows() -> list[list[str]]:
    lines = (DOCS / "nvtabular.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("| ")]
    return [row for row in cells if len(row) == 5]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)", cell))


OURS = [name for name in etl.__all__ if name in SPLITS or (name in vars(etl) and name in etl.ops.OPERATORS)]


@pytest.mark.parametrize("name", OURS)
def test_an_operator_has_its_row_and_its_test(name: str) -> None:
    found = [row for row in rows() if name in names(row[1])]
    assert len(found) == 1, f"{name} has {len(found)} rows in docs/nvtabular.md"
    (path,) = re.findall(r"\]\((\S+)\)", found[0][4])
    test = DOCS / path
    assert test.exists(), f"{name}: there is no {path}"
    assert f"{name}(" in test.read_text(encoding="utf-8") or f"etl.{name}" in test.read_text(encoding="utf-8")
    doc = getattr(etl, name).__doc__
    assert "NVTabular" in doc, f"{name} does not say what NVTabular has instead"
    assert ">>>" in doc, f"{name} shows no example"


def test_nothing_of_nvtabulars_is_left_out() -> None:
    told = set().union(*(names(row[0]) for row in rows()))
    assert set(re.findall(r"\w+", NVTABULAR)) - told == set()


def test_none_of_their_options_is_left_out() -> None:
    text = (DOCS / "nvtabular.md").read_text(encoding="utf-8")
    told = {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\w+", code)}
    assert set(OPTIONS.split()) - told == set()
