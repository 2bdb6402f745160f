"""Raw data in files and frames: paths, CSV and Parquet, columns, types, splits."""
