"""Layers of several small networks side by side, and of gates that mix them: one architecture per file."""
