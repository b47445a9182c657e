"""Verification: what versions, deltas and a whole vault are worth, with evidence."""
