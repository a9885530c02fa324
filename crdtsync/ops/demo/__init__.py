"""The demonstration: a year of real flights on three nodes, compared with what the file alone says.

conductor   starts a worker process per airport, kills one, cuts one off, asks for the answers
worker      one process: one node, one replay; talks JSON lines with the conductor
replay      one flight = one batch on the node
answers     reads the replica's answers back
expected    the same answers from the file alone, knowing nothing of crdtsync
compare     expected beside each replica
screen      what one sees meanwhile; report: what one sees at the end
"""
