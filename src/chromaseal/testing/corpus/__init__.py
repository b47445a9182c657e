"""The corruption corpus: healthy ChromaDB directories, and what can go wrong with them."""
