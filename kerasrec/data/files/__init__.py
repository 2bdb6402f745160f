"""What a loader reads, Parquet files or rows in memory: finding it, its row groups, checks."""
