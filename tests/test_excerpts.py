"""Messages about megabytes are a line long."""

from datetime import date

import polars as pl
import pytest

from kerasrec import etl, serving
from kerasrec.excerpts import excerpt
from kerasrec.schema import SchemaError

HUGE = "x" * 3_000_000


def test_excerpt():
    assert excerpt("short") == "'short'"
    assert excerpt(1.5) == "1.5"
    assert excerpt(date(2020, 1, 2)) == "datetime.date(2020, 1, 2)"
    assert excerpt(HUGE) == f"'{'x' * 199}... (3,000,002 characters)"


@pytest.mark.parametrize("dtype", ["int", "float", "list"])
def test_a_huge_value_is_cut(dtype, tmp_path):
    values = {"int": [1, 2], "float": [1.5, 2.5], "list": [["a"], ["b"]]}[dtype]
    op = etl.Categorify() if dtype == "list" else etl.Normalize()
    workflow = etl.Workflow(["a"] >> op).fit(pl.DataFrame({"a": values}))
    with pytest.raises((SchemaError, ValueError, TypeError)) as error:
        serving.rows([{"a": HUGE}], workflow)
    assert len(str(error.value)) < 600
    (tmp_path / "raw.csv").write_text(f"a\n{HUGE}\n")
    with pytest.raises((SchemaError, ValueError, TypeError)) as error:
        workflow.transform(tmp_path / "raw.csv").collect()
    assert len(str(error.value)) < 600
