"""Tests of crdtsync.storage."""
