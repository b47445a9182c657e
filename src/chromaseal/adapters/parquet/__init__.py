"""Parquet, through arro3: the form of a delta."""
