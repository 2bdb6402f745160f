"""Models that rank candidates by a history of behaviours: one architecture per file."""
