"""Models that find candidates: what they make of queries and of candidates are vectors to be compared."""
