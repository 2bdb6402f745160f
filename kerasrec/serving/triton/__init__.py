"""Triton Inference Server: a repository of models for it, and one that is started here (`kerasrec serve`)."""

from kerasrec.serving.triton.repository import export

__all__ = ["export"]


def __dir__() -> list[str]:
    return sorted(__all__)
