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
SPLITS = ("SplitByTime", "SplitLeaveOneOut")


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
