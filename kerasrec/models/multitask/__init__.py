"""Models for several targets: one architecture per file."""
