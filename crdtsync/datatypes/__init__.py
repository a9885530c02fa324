"""Data types: what an operation does to rows, and what rows mean as a value.  One type per file."""
