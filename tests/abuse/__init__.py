"""Callers who mean harm: floods, silence and slowness at every port of a node in a process of its own."""
