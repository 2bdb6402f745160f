"""Metadata of Parquet files: the positions of columns, checksums of pages and of footers."""
