"""Layers that let the vectors of features interact: one architecture per file."""
