"""Backups: online, consistent, checksummed, portable, incremental by token.

    writing    a cut of an open store as a stream of bytes, and as a file (`Node.backup`, `Node.backup_stream`)
    verifying  every byte of backups read and judged
    restoring  a chain of backups into an empty directory
    records, content, reading, chain    the file itself; FORMAT.md says what its bytes mean

A backup is a transfer that waits in a file: rows of one state with that state's clock as the claim.  What an
incremental one needs besides is in FORMAT.md, "Sections".  Merging one into a running node is `Node.restore`.
"""

from __future__ import annotations

from crdtsync.backup.content import Summary
from crdtsync.backup.reading import read_summary
from crdtsync.backup.restoring import Restored, restore
from crdtsync.backup.verifying import Report, verify

__all__ = ["Report", "Restored", "Summary", "read_summary", "restore", "verify"]
