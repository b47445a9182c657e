"""Runs: the COMPACTION_RUN, its states, and the ledger that keeps them."""
