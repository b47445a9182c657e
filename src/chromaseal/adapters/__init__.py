"""Technologies, one folder each; a file here is named after the interface it fills."""
