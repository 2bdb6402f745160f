"""What the adapters of the frameworks know of a loader: its `BatchStream`, by public names."""

import ast
from pathlib import Path

import numpy as np
import pytest
from loader_data import make_table, write

import kerasrec
from kerasrec.data import Loader

ADAPTERS = sorted((Path(kerasrec.__file__).parent / "data" / "frameworks").glob("[!_]*.py"))


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.stem)
def test_an_adapter_imports_no_loader_and_reads_no_private_name_of_the_stream(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "kerasrec.data.loader" not in imported
    private = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }
    assert private <= {"self._stream"}


def test_an_adapter_needs_nothing_but_the_stream(tmp_path):
    """A pass by hand, with a function that copies each column, is the loader's own."""
    loader = Loader(write(tmp_path, make_table(230)), 50, shuffle=True, lists="padded")
    stream = loader._stream.copy()
    converted = [stream.convert(batch, np.copy) for batch in stream.batches()]
    assert len(converted) == len(stream) == 5
    for (features, target), (expected, labels) in zip(converted, loader, strict=True):
        np.testing.assert_array_equal(target, labels)
        assert features.keys() == expected.keys()
        for name, column in features.items():
            np.testing.assert_array_equal(column, expected[name])


def test_a_copy_counts_passes_of_its_own(tmp_path):
    stream = Loader(write(tmp_path, make_table(100)), 50)._stream
    other = stream.copy()
    list(other.batches())
    assert (stream.progress.epoch, other.progress.epoch) == (0, 1)
