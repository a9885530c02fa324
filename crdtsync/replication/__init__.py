"""Replication of one node as a sans-IO engine: no socket, no clock, no thread and no chance of its own.

The engine is a state machine over a store (`ports.ReplicaStore`).  It is told what happened and what time it is, and
hands out what is to be done, in order.  Five verbs drive it, from one thread:

    receive(link, message, now, wall_ms)     a message has come over a link
    tick(now, wall_ms)                       time has passed
    local(now, buckets)                      something was written here
    next_wakeup()                            when to call `tick` next, at the latest
    take_effects()                           what is to be done now, in order

Links are told by `link_up(link, address, outgoing, now)`, `link_down(link, now)` and `connect_failed(address, now)`; a
link is a number that the transport chose.  `now` is in seconds on any clock that only grows, `wall_ms` in milliseconds
since the epoch; only registers' stamps, skew and the collection of deleted registers look at the latter.

The complete loop, as Node's engine thread runs it (the simulator runs the same with a heap of events for a queue):

    store = Store.open(path, config)
    transport.start(events)                                # puts what happens into a queue
    engine = Engine(store, config, rng, now(), wall_ms(), transport.address)
    driver = Driver(transport, store.flush, notify)
    store.on_change.append(lambda bucket, keys, local: local and queue.put(("local", [bucket])))
    while running:
        driver.apply(engine.take_effects())
        due = engine.next_wakeup()
        try:
            kind, *what = queue.get(timeout=max(0.0, due - now()))
        except Empty:
            engine.tick(now(), wall_ms())
            continue
        if kind == "message":    engine.receive(*what, now(), wall_ms())
        elif kind == "local":    engine.local(now(), *what)
        elif kind == "up":       engine.link_up(*what, now())
        elif kind == "down":     engine.link_down(*what, now())
        elif kind == "refused":  engine.connect_failed(*what, now())
        if now() >= due:
            engine.tick(now(), wall_ms())

Effects are plain values with an order that matters: `Persist` means that what follows may only be said once all so far
is on the disk (a sponsor counts a joiner durably before it answers).  `Send` to a link that is gone is swallowed.

What comes from peers is hostile: it is judged by `validate` and by the part that it is for, and a fault ends in a log
line, a counter, and an Abort or the end of the link, never in an exception from `receive` or a change of state.

Where to look for what:

    replica      the rules of the protocol over a store, one method each; no peers, no time
    messages     what nodes say; validate: what they may say
    ports        what the engine asks of a store
    engine       the verbs, and who is asked to do what; core: what the parts share
    sessions     links, handshake, two lives of one node; dialer: whom to call; peers: the tables of states
    gossip       pushes and pulls; announcer: heartbeats, clocks, suspicion; failure: the detector
    transfers    transfers under way, long ones too
    membership   records, sponsoring, leaving; entry: joining and starting over; eviction: proposals, votes, force
    collection   when dead rows go, and who holds it up; repair: damaged rows; tokens: what can never come
    status       all of it as plain values
    effects, driver
"""
