"""Embedding tables and dense weights in checkpoint folders, saved and restored by all ranks together."""
