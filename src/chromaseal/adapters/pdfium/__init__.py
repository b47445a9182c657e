"""PDF pages through PDFium."""
