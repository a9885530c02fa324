"""The replication protocol as an executable model: slow, small, and meant to be read.

It is the specification in code: rows with dots, exact clocks, whole transfers, an actor per start, joins through a
sponsor, collection by causal stability, versioned membership, starting over with a rescue, long transfers, damage.
Each rule is marked RULE, most with what would break without it.  `python -m tests.model FIRST LAST` runs one random
schedule per seed: batches, pushes that may be lost, doubled, reordered or arbitrarily late, pulls and scans in parts
that break off, partitions, crashes that lose what was not synced (even what peers have seen), old copies restored,
clock skew, joiners with and without rows of their own, leaving, eviction, damaged rows, collection at random moments.
Then it heals.  An oracle that saw all operations judges every replica after every step (see world.py).

Where to read: rows.py (joins), writing.py, transfers.py, stability.py, voting.py, listening.py, mending.py and node.py
(one replica), entry.py (exchanges of two), world.py (the oracle), schedule.py (what happens when).  rules.py lists what
a test can take away: most rules are missed within tens of seeds; for announcements kept over a re-entry, for private
registers left unstamped and for votes that bind nobody test_stories.py has the schedule in steps.  twin.py,
twin_votes.py and translate.py run the engine beside it.

Counter-examples that random schedules found while this was written, each now a rule:
- A damaged row was repaired in memory; a joiner resumed its scan, which reads what is on disk, and became whole
  without the row.  A repair is durable before anything is served.
- A sponsor was restored from a copy of the time when its joiner was joining, and let it expire: as "left" that word
  threw out a member that had written.  Expiry ranks below membership.
- The last two members able to serve each set a row aside that the other could not repair, after all others had been
  evicted: nobody was left to start over from.  No rule can mend that; operators see to it (schedule.py, `serving`).
- A and B had put out each other by force, and a joiner was still on its way in: being counted, it kept both from
  staying.  A joiner lets nobody in.
- A register set aside shows its log only the winner; what the winner had overwritten is forgotten with it, by design.
"""
