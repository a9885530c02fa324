"""Real processes on hosts of their own, under faults: a history of what clients did, and judges of it.

`hosts` makes network namespaces and breaks what is between them, `processes` runs nodes there, `clients` write and read
and note down what came of it, `faults` are the nemesis, `judges` say whether every promise was kept.  It needs root,
`ip` and `nft`; it is part of the long tests only.
"""
