"""Versions beside each other on a file system that many machines share."""
