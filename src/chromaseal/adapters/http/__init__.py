"""HTTP of the standard library: answers of a worker to whoever asks how it is."""
