"""A workflow and a model as one object: `Pipeline`; and `load`, which reads whatever was saved."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.pipeline.loading import load
    from kerasrec.pipeline.pipeline import Pipeline

__all__ = ["Pipeline", "load"]


def __getattr__(name: str) -> Any:  # both need Keras, so they are imported when asked for
    if name == "Pipeline":
        from kerasrec.pipeline.pipeline import Pipeline

        return Pipeline
    if name == "load":
        from kerasrec.pipeline.loading import load

        return load
    raise AttributeError(f"module 'kerasrec.pipeline' has no attribute {name!r}")
