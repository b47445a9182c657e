"""The default embedding model: all-MiniLM-L6-v2, run by ONNX Runtime."""

import os

# ONNX Runtime tells its maker who uses it, unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
