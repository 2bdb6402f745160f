"""What an embedding table is: its configuration, stack, shards, plan, rows and initial values."""
