"""ChromaDB: reading its files, merging into them, asking them."""
