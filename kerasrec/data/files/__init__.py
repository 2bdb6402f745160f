"""The Parquet files of a loader: which there are, what to read of them, on disks and at addresses."""
