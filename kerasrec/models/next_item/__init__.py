"""Models that predict the next item of a sequence: one architecture per file."""
