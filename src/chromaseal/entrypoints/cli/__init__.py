"""The command line: one file per command; each parses, calls one verb, and answers."""

from chromaseal.entrypoints.cli.app import main

__all__ = ["main"]
