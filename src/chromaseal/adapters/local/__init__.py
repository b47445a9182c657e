"""A directory as an object store, with a compare-and-swap that holds across processes."""
