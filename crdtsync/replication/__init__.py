"""Replication as a sans-IO engine: rules, peers, transfers, membership, collection."""
