"""The receipts table's stream and its messages <-> what is to be done with a vault."""
