"""`SchemaFiles`: what a model writes to files, with the schema that it belongs to."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerasrec.models.checks import check_same_features
from kerasrec.schema import Schema, SchemaError

# A mixin: what it calls on `super()` is the Keras model that it is put before.
_Model: Any = keras.Model if TYPE_CHECKING else object


class SchemaFiles(_Model):
    """Put before `keras.Model`, it has files say which schema their weights belong to."""

    schema: Schema

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets, in the schema's order; none where the examples are the rows themselves."""
        return ()

    def _build_sublayers(self) -> None:
        """Build the layers that a subclass leaves to its first call, so that files can be read into them."""

    def export(self, filepath: str | os.PathLike[str], format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Write the SavedModel of `kr.serving.export`, without a workflow, in the place of an earlier one.

        Raises `ValueError` for another format or argument of Keras's `export`.
        """
        others = [name for name, value in kwargs.items() if value is not None and name != "verbose"]
        if format != "tf_saved_model" or others:
            argument = f"format={format!r}" if format != "tf_saved_model" else f"{others[0]}=..."
            raise ValueError(
                f"{type(self).__name__}.export writes the TensorFlow SavedModel of kr.serving.export, whose "
                f"signature is the schema's; {argument} is not supported"
            )
        from kerasrec import serving

        serving.export(self, filepath, overwrite=True)

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
    ) -> None:
        """Save as Keras does; the file at `filepath` is replaced when the new one is complete."""
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"{os.path.basename(filepath)!r}: Keras cannot load models of this kind from its old HDF5 format; "
                "save as .keras, or the weights alone with save_weights, as .weights.h5"
            )
        super().save(filepath, overwrite, zipped, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        self._build_sublayers()
        super().save_own_variables(store)
        store["schema"] = np.frombuffer(json.dumps(self.schema.to_dict()).encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        if "schema" not in store:
            raise ValueError(
                f"these weights were not saved by a model of kr.models: the file has no schema for {self.name!r}"
            )
        saved = Schema.from_dict(json.loads(np.asarray(store["schema"]).tobytes()))
        check_same_features(self.schema, saved, "the saved model")
        targets = tuple(saved.targets.names)
        if len(self.targets) > 1 and targets != self.targets:
            raise SchemaError(
                f"the targets of the saved model are {', '.join(targets)}, but those of {self.name!r} are "
                f"{', '.join(self.targets)}: each has a head of its own"
            )
        self._build_sublayers()
        super().load_own_variables({key: store[key] for key in set(store.keys()) - {"schema"}})
