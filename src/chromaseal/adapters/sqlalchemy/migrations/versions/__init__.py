"""One module per schema, each from the one before; none is ever changed."""
