"""The ledger and its leases in one DynamoDB table, beside what else the table holds."""
