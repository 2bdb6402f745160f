"""What a table's variable knows it has as typed fields: nothing is hung on variables, and nobody sniffs for it."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasrec as kr
from kerasrec.tables.variables import TableVariable, table_variables

PACKAGE = Path(__file__).parent.parent / "kerasrec"
# The fields of `TableVariable`, and what was once hung on variables in their stead.
FIELDS = {"shards", "stack", "replicas", "lookup_share", "cut_tables", "copies", "copied", "share"}
# How the package calls variables.
VARIABLES = {"variable", "v", "table", "copied", "weight", "slot", "reference_variable"}


def hidden_attributes(source: str) -> list[str]:
    """The places in a module where an attribute is hung on a variable, or looked for by its name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in ("hasattr", "getattr", "setattr") or len(node.args) < 2:
                continue
            owner, name = node.args[:2]
            sniffed = isinstance(owner, ast.Name) and owner.id in VARIABLES
            if sniffed or (isinstance(name, ast.Constant) and name.value in FIELDS):
                found.append(ast.unparse(node))
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                owner, field = target.value.id, target.attr
                known_to_keras = field in ("trainable",)
                if (owner in VARIABLES and not known_to_keras) or (owner != "self" and field in FIELDS):
                    found.append(ast.unparse(node))
    return found


def test_no_attribute_is_hung_on_variables_or_sniffed():
    modules = list(PACKAGE.rglob("*.py"))
    assert len(modules) > 100
    found = {str(path): hidden_attributes(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: places for path, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "line",
    [
        "variable.stack = stack",
        "layer.weights[0].name; copied.copied = shards",
        "hasattr(v, 'stack')",
        "getattr(getattr(other, 'stack', None), 'optimizer', None)",
        "if hasattr(table, 'copies'): table.copies.refresh(rows)",
        "setattr(variable, name, 1)",
    ],
)
def test_a_hidden_attribute_is_found(line):
    assert hidden_attributes(line)


def test_a_layer_tracks_its_table_variables():
    item = kr.TableConfig("item", 5, 4)
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", item)}, name="tables")
    layer.build()
    (variable,) = layer.trainable_weights
    assert isinstance(variable, TableVariable)
    assert variable.path == "tables/tables_4"
    assert (variable.shards.stack.tables, variable.stack.offsets) == ((item,), {"item": 0})
    assert (variable.replicas, variable.lookup_share) == (None, None)
    np.testing.assert_array_equal(variable.numpy(), layer.table("item"))


def test_a_layer_frozen_before_it_is_built_trains_once_it_is_not():
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", kr.TableConfig("item", 5, 4))})
    layer.trainable = False
    layer.build()
    (variable,) = layer.weights
    assert (layer.trainable_weights, variable.trainable) == ([], False)
    layer.trainable = True
    assert len(layer.trainable_weights) == 1
    assert variable.trainable


def test_table_variables_of_a_model_are_found_at_any_depth():
    features = {"item": kr.FeatureConfig("item", kr.TableConfig("item", 5, 4))}
    ids = keras.Input((), dtype="int64", name="item")
    vectors = kr.layers.DistributedEmbedding(features)({"item": ids})["item"]
    model = keras.Model({"item": ids}, keras.layers.Dense(1)(vectors))
    assert [variable.stack.tables[0].name for variable in table_variables(model)] == ["item"]
