"""Seal: the proof that a ChromaDB directory is closed, quiet and sound."""
