"""Events to sequences: one row per user or session, split into rows to train, validate and test on."""
