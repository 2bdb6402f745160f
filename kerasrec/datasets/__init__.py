"""Data to try kerasrec on: a click log of any size from a known model, MovieLens 100k, Criteo's display ads."""

from kerasrec.datasets import additive, criteo, metrics, movielens, synthetic

__all__ = ["additive", "criteo", "metrics", "movielens", "synthetic"]
