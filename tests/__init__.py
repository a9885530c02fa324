"""Tests mirror the packages; `laws.py` is the shared harness, `golden/` holds bytes that never change."""
