"""Storage: rows, clocks and log of one replica, kept in memory layers over a journal and an ordered map.

`store.Store` is the whole; FORMAT.md says what the bytes mean.  The parts, from the outside in: `store` (open, recover,
transact), `transfers` and `collect` (what replication asks for), `bucket` (one bucket's rows and clocks), `layers`
(dirty rows above the row table), `checkpoint` (layers into the table), `journal` (what survives a crash), and two seams
with a real and a memory side each: `disk`/`files` and `maps`/`lmdb_map`.
"""
