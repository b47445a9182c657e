"""Composition: the places where interfaces and technologies are put together."""
