"""A signature in a session: of its graph alone what it needs is loaded, with its variables and its files."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerasrec.serving.session_call import SessionCall, part_of

ITEM, ADD = tf.TensorSpec([None], tf.string, "item"), tf.TensorSpec([None], tf.float32, "add")


class Prices(tf.Module):
    """The price of an item, from a file or a variable; and what no call of it needs."""

    def __init__(self, file=None, price=None):
        super().__init__()
        if file is not None:
            lines = tf.lookup.TextFileInitializer(
                str(file),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(lines, -1)
        self.price = None if price is None else tf.Variable(price)

    @tf.function(input_signature=[ITEM, ADD])
    def serve(self, item, add):
        row = self.row_of(item)
        price = tf.constant(1.0) if self.price is None else self.price
        return {"price": tf.cast(row, tf.float32) * price + add}

    @tf.function
    def row_of(self, item):
        return tf.strings.length(item) if not hasattr(self, "table") else self.table.lookup(item)

    @tf.function(input_signature=[ITEM])
    def other(self, item):
        return {"hash": tf.strings.to_hash_bucket_strong(item, 10, [1, 2])}


@pytest.mark.parametrize("has_file", [True, False])
@pytest.mark.parametrize("price", [2.5, None])
def test_the_results_are_those_of_the_loaded_model(tmp_path, has_file, price):
    file = tmp_path / "items.txt"
    file.write_text("ball\nbook\npen\n")
    module = Prices(file if has_file else None, price)
    path = tmp_path / "served"
    tf.saved_model.save(module, str(path), {"serving_default": module.serve, "other": module.other})
    file.unlink()
    path = path.rename(tmp_path / "moved")
    call = SessionCall(path)
    item, add = np.array([b"pen", b"ball", b"cap"], object), np.array([0.5, 1, 2], "float32")
    np.testing.assert_array_equal(call({"item": item, "add": add})["price"], module.serve(item, add)["price"])
    assert call.inputs == {"item": "string", "add": "float32"}


def test_the_part_of_a_graph_has_only_what_the_target_needs(tmp_path):
    module = Prices(price=1.0)
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.serve, "other": module.other})
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes()).meta_graphs[0]
    target = saved.signature_def["serving_default"].outputs["price"].name
    part = part_of(saved.graph_def, [target])
    ops = {node.op for function in part.library.function for node in function.node_def}
    assert "StringLength" in ops
    assert "StringToHashBucketStrong" not in ops
    assert not any(node.op in ("RestoreV2", "SaveV2") for node in part.node)
    assert len(part.library.function) < len(saved.graph_def.library.function)
