"""ChromaDB: reading its files, merging into them, asking them."""

import os

# Its default embedding function loads ONNX Runtime, which tells its maker who uses it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
