"""The sweep: what the vault holds -> what its ledger has to say, made or completed."""
