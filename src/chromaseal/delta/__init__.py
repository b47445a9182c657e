"""Deltas: records -> one immutable bundle."""
