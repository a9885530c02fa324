"""`crdtsync maelstrom`: a node that speaks the Maelstrom protocol, so that its bench can judge a cluster.

The node is the production one, in memory.  `program` reads lines and answers clients, `workloads` says what their
requests mean in data types, `lines` is a transport whose links cross messages that may be late, swapped or lost, `wire`
writes lines.
"""
