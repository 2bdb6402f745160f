"""A checkpoint from an untrusted source reads nothing outside of its folder."""

import json

import pytest

from kerasrec.parallel.checkpoint import manifest
from kerasrec.parallel.checkpoint.manifest import File, Manifest, SavedTable, ShardFile

PATHS = ["/etc/passwd", "../other/x.safetensors", "save-0123456789ab/../../x.safetensors"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("which", ["tables", "dense"])
def test_files_outside_of_the_folder_are_refused(tmp_path, path, which):
    (tmp_path / "save-0123456789ab").mkdir()
    shard = ShardFile("save-0123456789ab/t.safetensors", 1, 2, rows=(0, 1, 1), columns=(0, 1))
    saved = SavedTable(None, {"t": {"shape": (1, 1), "dtype": "float32"}}, (shard,))
    Manifest("0123456789ab", {"t": saved}, File("save-0123456789ab/@dense.safetensors", 1, 2)).write(tmp_path)
    assert manifest.read(tmp_path).tables["t"].files[0].file == shard.file
    written = json.loads((tmp_path / manifest.NAME).read_text())
    place = written["dense"] if which == "dense" else written["tables"]["t"]["files"][0]
    place["file"] = path
    (tmp_path / manifest.NAME).write_text(json.dumps(written))
    with pytest.raises(ValueError, match="file must be within the checkpoint's folder"):
        manifest.read(tmp_path)
