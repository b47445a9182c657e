"""Repair: what is broken is made again from named sources, proved, and never in place."""
