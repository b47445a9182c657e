"""The default embedding model: all-MiniLM-L6-v2, run by ONNX Runtime."""
