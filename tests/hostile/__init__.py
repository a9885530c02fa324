"""Bad inputs of every kind: each a typed error, a named counter, and no state change."""
