"""Text recognition with RapidOCR's models on ONNX Runtime."""
