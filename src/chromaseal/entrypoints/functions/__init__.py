"""Functions of AWS Lambda: one module per event, each with its ``handler``."""
