"""Text recognition with the tesseract program."""
