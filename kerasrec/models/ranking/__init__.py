"""Models that rank candidates by a prediction per row: one architecture per file."""
