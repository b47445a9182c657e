"""Text recognition with RapidOCR's models on ONNX Runtime."""

import os

# ONNX Runtime tells its maker who uses it, unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
