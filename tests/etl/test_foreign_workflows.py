"""Loading a workflow from an untrusted source runs no code and reads no other file."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.plugins import register_plugin_function

from kerasrec import etl
from kerasrec.etl.operator import user_expressions
from kerasrec.schema import SchemaError

FRAME = pl.DataFrame({"a": [1, 2, 3], "b": [1.0, -1.0, 2.0], "k": ["x", "y", "x"]})


class Trap:
    """Makes a file of itself when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def calls(path: Path) -> dict[str, Callable[[], pl.Expr]]:
    """Expressions that Polars would unpickle a function of, or load a library for."""
    trap, a = Trap(path), pl.col("a")

    def call(*x: Any, trap: Any = trap) -> Any:
        return x[0]

    def plugin() -> pl.Expr:
        return register_plugin_function(plugin_path=path.with_suffix(".so"), function_name="f", args=["a"])

    path.with_suffix(".so").touch()
    return {
        "map_batches": lambda: a.map_batches(call),
        "map_elements": lambda: a.map_elements(call, return_dtype=pl.Int64),
        "map_groups": lambda: pl.map_groups(["a"], call, return_dtype=pl.Int64),
        "fold": lambda: pl.fold(0, call, ["a", "b"]),
        "reduce": lambda: pl.reduce(call, ["a", "b"]),
        "cum_fold": lambda: pl.cum_fold(0, call, ["a", "b"]),
        "cum_reduce": lambda: pl.cum_reduce(call, ["a", "b"]),
        "rolling_map": lambda: a.rolling_map(call, 2),
        "name": lambda: a.name.map(call),
        "plugin": plugin,
        "in a list": lambda: pl.concat_list("a").list.eval(pl.element().map_batches(call)).list.first(),
        "in an over": lambda: a.map_batches(call).sum().over("k"),
        "in a when": lambda: pl.when(pl.col("b") > 0).then(a).otherwise(a.map_batches(call)),
        "in a struct": lambda: pl.struct(a, b=a.map_batches(call)).struct.field("b"),
        "in a sort": lambda: a.sort_by(a.map_batches(call)),
        "in an order": lambda: a.first().over("k", order_by=a.map_batches(call)),
        "in a filter": lambda: a.filter(a.map_batches(call) > 0).sum(),
        "in an is_in": lambda: a.is_in(a.map_batches(call).implode()),
    }


def serialized(expr: pl.Expr) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return expr.meta.serialize(format="json")


def saved(tmp_path: Path, columns: Any) -> tuple[Path, dict[str, Any]]:
    """A saved workflow, and its JSON."""
    folder = etl.Workflow(columns).fit(FRAME).save(tmp_path / "w")
    return folder, json.loads((folder / "workflow.json").read_text())


def refused(folder: Path, changed: dict[str, Any] | str, message: str, **arguments: Any) -> None:
    text = changed if isinstance(changed, str) else json.dumps(changed)
    (folder / "workflow.json").write_text(text)
    with pytest.raises(SchemaError, match=message) as error:
        etl.Workflow.load(folder, **arguments)
    assert "workflow.json" in str(error.value)


def test_functions_and_plugins_are_refused(tmp_path: Path) -> None:
    folder, values = saved(tmp_path, ["a", "b"] >> etl.Filter(pl.col("b") > 0))
    (setting,) = (node["settings"]["f"] for node in values["nodes"] if node.get("op") == "Filter")
    for name, make in calls(tmp_path / "made").items():
        expr = make()
        setting["expression"] = serialized((expr > 0) & (pl.col("b") > 0))
        assert not (tmp_path / "made").exists()
        refused(folder, values, "Python function or a plugin", trust=True)
        assert not (tmp_path / "made").exists(), name
        with pytest.raises(ValueError, match="cannot save"):
            user_expressions.to_json(expr)
    # Polars does unpickle them, so it is not for another reason that nothing was made.
    text = serialized(calls(tmp_path / "made")["map_batches"]())
    with warnings.catch_warnings(), suppress(FileExistsError, pl.exceptions.PolarsError):
        warnings.simplefilter("ignore")
        FRAME.select(pl.Expr.deserialize(text.encode(), format="json"))
    assert (tmp_path / "made").exists()


def test_no_way_round(tmp_path: Path) -> None:
    """Escapes, a key that stands twice, and depth are read as Polars would read them, or refused."""
    folder, values = saved(tmp_path, ["a", "b"] >> etl.Filter(pl.col("b") > 0))
    (setting,) = (node["settings"]["f"] for node in values["nodes"] if node.get("op") == "Filter")
    trap = serialized(calls(tmp_path / "made")["map_batches"]())
    harmless = serialized(pl.col("b") > 0)
    for expression, message in [
        (trap.replace("Anonymous", "\\u0041nonymous", 1), "Python function"),
        ("{" + trap[1:-1] + "," + harmless[1:-1] + "}", "Python function"),
        ('{"Function":{"input":[],"function":{"Unheard":[' + ",".join(["1"] * 20) + "]}}}", "20 bytes"),
        ('{"Alias":[' * 100_000 + "1" + ',"x"]}' * 100_000, "nested too deeply"),
        ("{", "invalid workflow"),
        ('{"Column":1}', "cannot be read"),
    ]:
        setting["expression"] = expression
        refused(folder, values, message)
    # Of a key that stands twice the last is loaded, and no other.
    twice = trap.replace('"input"', '"input":[],"input"', 1)
    setting["expression"] = twice
    refused(folder, values, "Python function")
    assert not (tmp_path / "made").exists()


@given(st.sampled_from(["AnonymousFunction", "FfiPlugin", "Map", "callback", "a"]))
def test_words_of_columns_and_values_are_no_code(word: str) -> None:
    for expr in (
        (pl.col(word) > 0) & pl.col(word).is_in([1, 2, 3] * 20),
        pl.col(word).cast(pl.String) == word,
        pl.col(word).cast(pl.Enum([word, *map(str, range(40))])).is_not_null(),
        pl.len().over(word) >= 5,
        pl.struct(pl.col(word).alias("x"), y=pl.lit(2)).struct.field("x").is_between(0, 3),
        pl.col(word).cum_sum().rolling_mean(3).shift(1).fill_null(0) > pl.lit(pl.Series(range(20))).max(),
        pl.sum_horizontal(word, pl.lit(1)).replace_strict({1: True}, default=False),
        pl.col(word).str.to_datetime().dt.truncate("1d") < pl.datetime(2020, 1, 1),
    ):
        again = user_expressions.from_json(user_expressions.to_json(expr))
        assert serialized(again) == serialized(expr)


MODULE = """
import os, pathlib
import polars as pl
pathlib.Path(__file__).with_name("ran").touch()
def twice(x):
    return x.map_batches(lambda s: s * 2, return_dtype=pl.Int64, is_elementwise=True)
"""


def test_functions_of_trusted_modules_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "path" / "strange"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(package.parent)
    from strange.of_mine import twice  # type: ignore[import-not-found]

    folder, values = saved(tmp_path, ["a"] >> etl.LambdaOp(twice))
    for name in ("strange.of_mine", "strange"):
        monkeypatch.delitem(sys.modules, name)
    (package / "ran").unlink()
    refused(folder, values, r"LambdaOp calls 'strange.of_mine:twice'.* load it with trust=\['strange.of_mine'\]")
    refused(folder, values, "LambdaOp calls", trust=["strange.of_yours", "stran"])
    assert not (package / "ran").exists()
    for trust in (True, ["strange.of_mine"], ["strange"], "strange"):
        assert etl.Workflow.load(folder, trust=trust).transform(FRAME).collect()["a"].to_list() == [2, 4, 6]

    (setting,) = (node["settings"] for node in values["nodes"] if node.get("op") == "LambdaOp")
    for f, tf in [("strange.of_mine:os.system", None), ("strange.of_mine:twice", "os:getcwd"), (1, None)]:
        setting |= {"f": f, "tf": tf}
        refused(folder, values, "LambdaOp", trust=["strange"])


def test_the_expressions_of_lambdas_run_no_code(tmp_path: Path) -> None:
    folder, values = saved(tmp_path, ["a"] >> etl.LambdaOp(lambda a: a * 2))
    assert etl.Workflow.load(folder).transform(FRAME).collect()["a"].to_list() == [2, 4, 6]
    (setting,) = (node["settings"] for node in values["nodes"] if node.get("op") == "LambdaOp")
    for name, make in calls(tmp_path / "made").items():
        setting["f"]["a"]["expression"] = serialized(make())
        refused(folder, values, "Python function or a plugin", trust=True)
        assert not (tmp_path / "made").exists(), name
    setting["f"]["a"]["expression"] = serialized(pl.col("b") * 2)
    refused(folder, values, "LambdaOp: no column 'b'; available: a")
    for f in ({}, {"b": setting["f"]["a"]}, None, [1]):
        setting["f"] = f
        refused(folder, values, "LambdaOp|invalid workflow")


def test_only_files_of_its_folder_are_read(tmp_path: Path) -> None:
    join = etl.JoinExternal(FRAME.select("k", c="b").unique("k"), "k")
    folder, values = saved(tmp_path, (["k"] >> join)["c"] + (["a"] >> etl.Categorify()))
    FRAME.write_parquet(tmp_path / "other.parquet")
    node = next(node for node in values["nodes"] if node.get("op") == "Categorify")
    frames = dict(node["frames"])
    for file in ("../other.parquet", str(tmp_path / "other.parquet"), "sub/x.parquet", "..", "", 7):
        node["frames"] = {"a": file}
        refused(folder, values, "is not the name of a file in its folder")
    node["frames"] = frames

    # A source that the file names is not read.
    node = next(node for node in values["nodes"] if node.get("op") == "JoinExternal")
    node["settings"] |= {"df_ext": str(tmp_path / "other.parquet"), "columns_ext": None}
    refused(folder, values, "invalid workflow")
