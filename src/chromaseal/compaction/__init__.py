"""Compaction: head and waiting deltas -> the next version."""
