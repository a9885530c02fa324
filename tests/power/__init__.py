"""Power loss: what a real process wrote and synced is recorded, and disks that a power cut may leave are rebuilt."""
