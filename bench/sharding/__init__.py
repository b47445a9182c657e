"""Collections of 100 million records: what shards of them cost, and how one is split in use."""
