"""What the `serving_default` of a SavedModel takes and returns, in a JSON file beside it.

A server or a client in another language reads it without TensorFlow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasrec.schema import Schema
from kerasrec.serving.rows import EXTRA
from kerasrec.serving.wire import wire_names
from kerasrec.tensor_names import TensorNames, signature, tensor_names

SIGNATURE = "signature.json"


@dataclass(frozen=True)
class Tensor:
    """An output: its dtype, and its shape after the rows, None where that differs from call to call."""

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Description:
    """What a signature takes and returns.

    Attributes:
        columns: the inputs of each raw column by its name.
        optional: list columns that a request may leave out, which are then empty: `exclude` of an index.
        options: further inputs of shape (1,), such as `k` of an index.
        inputs: the dtype of each input.
        outputs: by name; the first dimension of each is rows.
    """

    columns: Mapping[str, TensorNames]
    optional: Sequence[str]
    options: Sequence[str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, Tensor]

    @classmethod
    def of(
        cls, concrete: Any, columns: Schema, optional: Sequence[str] = (), options: Sequence[str] = ()
    ) -> Description:
        """Describe a function that `traced_columns` traced.

        Args:
            concrete: the function.
            columns: its columns.
            optional: those that may be left out.
            options: the names of its further inputs.
        """
        wire = wire_names([*signature(columns), *options])

        def renamed(name: str | None) -> str | None:
            return None if name is None else wire[name]

        names = {
            column: TensorNames(wire[parts.values], renamed(parts.offsets), renamed(parts.valid))
            for column, parts in tensor_names(columns).items()
        }
        inputs = {name: spec.dtype.name for name, spec in concrete.structured_input_signature[1].items()}
        outputs = {
            name: Tensor(spec.dtype.name, tuple(spec.shape)[1:])
            for name, spec in concrete.structured_outputs.items()
        }
        return cls(names, list(optional), [wire[name] for name in options], inputs, outputs)

    def write(self, folder: Path) -> None:
        """Write the file into a folder."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        (folder / SIGNATURE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Description:
        """Read that of a SavedModel.

        Raises:
            FileNotFoundError: there is none: nothing is there, or something that an earlier version wrote.
        """
        file = Path(path) / EXTRA / SIGNATURE
        if not file.exists():
            what = "has no" if (Path(path) / "saved_model.pb").exists() else "is not a SavedModel: it has no"
            raise FileNotFoundError(
                f"{path} {what} {EXTRA}/{SIGNATURE}; export the model with kr.serving.export of this version"
            )
        values = json.loads(file.read_text(encoding="utf-8"))
        return cls(
            {name: TensorNames(**parts) for name, parts in values["columns"].items()},
            values["optional"],
            values["options"],
            values["inputs"],
            {name: Tensor(out["dtype"], tuple(out["shape"])) for name, out in values["outputs"].items()},
        )
