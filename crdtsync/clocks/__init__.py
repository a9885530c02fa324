"""Clocks as pure values: version vectors, hybrid logical clock, stability, membership records, tokens."""
