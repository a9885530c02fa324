"""Values and objects as text: JSON, NDJSON and CSV; docs/data-format.md is its description."""
