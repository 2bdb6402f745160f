"""Datasets to try kerasrec on: a synthetic click log of any size, MovieLens 100k, Criteo's display ads,
sequences of events, and NCF's MovieLens 1M."""

from kerasrec.datasets import additive, criteo, metrics, movielens, ncf, next_item, synthetic
from kerasrec.datasets.synthetic import click_log, clicks
from kerasrec.public_names import public_names

__all__ = ["additive", "click_log", "clicks", "criteo", "metrics", "movielens", "ncf", "next_item", "synthetic"]

__getattr__, __dir__ = public_names(__name__, __all__)
