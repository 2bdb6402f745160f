"""Datasets to try kerasrec on: a synthetic click log of any size, MovieLens 100k, Criteo's display ads."""

from kerasrec.datasets import additive, criteo, metrics, movielens, synthetic

__all__ = ["additive", "criteo", "metrics", "movielens", "synthetic"]
