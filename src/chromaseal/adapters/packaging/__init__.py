"""Installed Python packages, as their own metadata tells of them."""
