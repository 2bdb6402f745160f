"""The Parquet files of a loader, on disk and at addresses: finding them, their row groups, and checks."""
