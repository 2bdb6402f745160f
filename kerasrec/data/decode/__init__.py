"""Row groups of Parquet files to arrays, on the CPU (pyarrow) and on a GPU (cuDF)."""
