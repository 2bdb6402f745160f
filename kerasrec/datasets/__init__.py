"""Datasets to try kerasrec on: a synthetic click log of any size, MovieLens 100k, Criteo's display ads."""

from kerasrec.datasets import additive, criteo, metrics, movielens, synthetic
from kerasrec.datasets.synthetic import click_log, clicks

__all__ = ["additive", "click_log", "clicks", "criteo", "metrics", "movielens", "synthetic"]
