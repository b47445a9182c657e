"""Raster images through Pillow: decoding, and sample receipts drawn with it."""
