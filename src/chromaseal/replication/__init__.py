"""Replication: directories that applications own <-> versions."""
