"""Receipts: image -> lines, words, merchant -> records. Uses the engine; never used by it."""
