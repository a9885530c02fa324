"""A bench after Maelstrom: nodes as processes that speak its protocol, clients, a network with faults, and judges.

`bench` runs nodes and carries their messages, `workloads` says what clients ask, `checkers` judges the history, and is
stricter than the original: all final reads are equal, on every node, nothing lost, nothing twice, nothing invented.
"""
