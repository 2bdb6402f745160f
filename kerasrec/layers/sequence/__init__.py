"""Layers that read a history of behaviours: one architecture per file."""
