"""Snapshots: a directory <-> pages, layers, manifest, version."""
