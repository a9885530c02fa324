"""Micro benchmarks: one call at a time, in one process."""
