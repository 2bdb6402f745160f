"""Batches as each framework takes them."""
