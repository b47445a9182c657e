"""The object layout of the existing receipts pipeline: taken over, and written for its readers."""
