"""Real processes: kills, partitions, old copies of directories, two live copies."""
