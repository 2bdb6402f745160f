"""A SavedModel of an index that `export` wrote: to recommend candidates, and to change them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasrec.schema import Schema
from kerasrec.serving.recommend import Recommend, id_array
from kerasrec.serving.rows import EXTRA, FILES, rows
from kerasrec.serving.served_model import ServedSignature, load_module

if TYPE_CHECKING:
    import numpy as np

    from kerasrec.data.open import Data

CANDIDATES, INDEX = "candidates.json", "index.json"  # beside the schema of queries


class ServedIndex:
    """A SavedModel of an index: recommends candidates for raw rows, and changes candidates in this process.

    Any process with TensorFlow can call the same signatures: `kerasrec.serving.index_model`. What `update` and
    `remove` change stays in this process until `save` writes it.

    Args:
        path: a folder that `kr.serving.export` wrote for an index.

    Raises:
        FileNotFoundError: there is no SavedModel of an index at `path`.

    Example:

    >>> served = kr.serving.load("retriever/")
    >>> served.recommend([{"user": "ann"}], k=2, exclude=[["Heat"]])
    {'ids': array([['Alien', 'Fargo']], dtype=object), 'scores': array([[1.31, 1.12]], dtype=float32)}
    >>> served.update([{"film": "Dune", "genres": ["drama"]}])
    {'added': 1, 'replaced': 0}
    >>> served.remove(["Alien"])
    {'removed': 1}
    >>> served.save("retriever/", overwrite=True)
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._module = load_module(path)
        if not (self.path / EXTRA / INDEX).exists():
            raise FileNotFoundError(f"{path} is not a SavedModel of an index: it has no {EXTRA}/{INDEX}")
        names = json.loads((self.path / EXTRA / INDEX).read_text(encoding="utf-8"))
        self._recommend = Recommend(self._signature("serving_default"), self.path, names)

    def _signature(self, name: str) -> ServedSignature:
        return ServedSignature(self._module, self.path, name)

    def _check_changes(self) -> None:
        if "remove" not in self._module.signatures:
            raise ValueError(
                f"{self.path}: the candidates are in a layer of TensorFlow Recommenders that cannot change them; "
                'export an index of kr.retrieval.TFRS("streaming") or index="exact"'
            )

    @property
    def inputs(self) -> dict[str, str]:
        """The dtype of each input of `serving_default` by name; all have the shape (n,)."""
        return self._recommend.signature.inputs

    def __repr__(self) -> str:
        return f"ServedIndex({str(self.path)!r}) of {', '.join(f'{n} ({d})' for n, d in self.inputs.items())}"

    def recommend(
        self, data: Data, k: int = 10, *, exclude: Sequence[Iterable[Any]] | None = None
    ) -> dict[str, np.ndarray]:
        """Return the best candidates of each raw row, best first.

        Args:
            data: a Polars, pandas or Arrow frame, or dicts, as `kr.serving.rows` takes them.
            k: how many.
            exclude: for each row the raw ids of candidates to leave out; unknown ones and None are ignored.

        Returns:
            `ids` (rows, k), strings or integers, and `scores` (rows, k). Where a row has fewer candidates, an id
            is None or -1, and its score -inf.

        Raises:
            SchemaError, ValueError: as for `kr.serving.rows`; `exclude` has not as many lists as there are rows.
        """
        return self._recommend(data, k, exclude)

    def update(self, data: Data) -> dict[str, int]:
        """Add candidates, or replace those whose ids are there, for raw rows of candidates.

        Returns:
            How many were `added` and `replaced`.

        Raises:
            SchemaError, ValueError: as for `kr.serving.rows`; an id is null, or in several rows; or the index is
                of a next-item model, whose candidates are rows of its table unless it knows their columns.
        """
        self._check_changes()
        if "update" not in self._module.signatures:
            raise ValueError(
                f"{self.path}: the candidates of this next-item model are rows of its table, not made of data; "
                "export kr.retrieval.Index(model, workflow=..., item_workflow=...) of a model with items=..."
            )
        update = self._signature("update")
        inputs = rows(data, Schema.load(self.path / EXTRA / CANDIDATES))
        return {name: int(count) for name, count in update(**inputs).items()}

    def remove(self, ids: Iterable[Any]) -> dict[str, int]:
        """Remove candidates. Raises `ValueError` for an id that is not one's; then none is removed."""
        self._check_changes()
        remove = self._signature("remove")
        (name,) = remove.inputs
        return {name: int(count) for name, count in remove(**{name: id_array(list(ids))}).items()}

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the SavedModel with its present candidates.

        Raises:
            FileExistsError: something is at `path` that may not be replaced.
        """
        from kerasrec.files import write_aside
        from kerasrec.serving.write import save  # it imports TensorFlow and Keras

        path = Path(os.path.abspath(path))
        with write_aside(path, overwrite=overwrite, files=FILES) as aside:
            save(self._module, aside, self._module.signatures)
            shutil.copytree(self.path / EXTRA, aside / EXTRA, dirs_exist_ok=True)
        return path
