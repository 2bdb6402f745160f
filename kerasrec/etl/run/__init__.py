"""Runs a graph of operators: fit over files, expressions for Polars, tensors for a served model."""
