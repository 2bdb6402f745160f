"""What Parquet files say of themselves: where row groups keep columns, checksums of pages and of footers."""
