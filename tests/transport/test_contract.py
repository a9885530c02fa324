"""What every transport promises, asked of the real one and of its twin in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from crdtsync.config import KIB, MIB, ClusterSettings
from crdtsync.errors import Closed, ConfigError, InsecureAddress, ListenFailed
from crdtsync.replication import messages as m
from crdtsync.transport.wire import encode
from tests.transport.support import Net, Owner, part, small

SMALL_FRAMES = {
    "message_bytes_max": 3 * MIB,
    "cluster": ClusterSettings(value_bytes_max=MIB // 4, part_bytes_max=2 * MIB, batch_bytes_max=MIB),
}


@pytest.fixture(params=["grpc", "memory"])
def net(request: pytest.FixtureRequest) -> Iterator[Net]:
    net = Net(request.param)
    yield net
    net.close()


# ---- links


def test_connect(net: Net) -> None:
    a, ours, b, theirs = *net.started(), *net.started()
    a.connect(b.address)
    net.until(lambda: ours.ups and theirs.ups)
    assert ours.ups == [(1, b.address, True)]
    ((link, address, outgoing),) = theirs.ups
    assert not outgoing
    assert address.startswith("127.0.0.1:")
    assert list(a.stats()["links"]) == [1]
    assert b.stats()["links"][link]["outgoing"] is False


def test_both_directions(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair()
    assert a.send(here, small(1))
    assert b.send(there, small(2))
    net.until(lambda: theirs.got and ours.got)
    assert (theirs.got, ours.got) == ({there: [small(1)]}, {here: [small(2)]})


def test_connect_to_nobody(net: Net) -> None:
    a, ours = net.started()
    gone, _ = net.started()
    address = gone.address
    gone.stop()
    a.connect(address)
    net.until(lambda: ours.failures)
    assert ours.failures[0][0] == address
    assert "UNAVAILABLE" in ours.failures[0][1]
    assert a.counters["connects_failed"] == 1


@pytest.mark.parametrize(
    ("address", "counter"),
    [
        ("", "config_error"),
        ("nonsense", "config_error"),
        ("127.0.0.1:65536", "config_error"),
        ("127.0.0.1:-1", "config_error"),
        ("unix:/tmp/socket", "config_error"),
        ("unix:1", "insecure_address"),
        ("169.254.169.254:80", "insecure_address"),
        ("example.org:443", "insecure_address"),
    ],
)
def test_connect_to_bad_addresses(net: Net, address: str, counter: str) -> None:
    """Peers pass addresses on, so a bad one is an event and not an exception."""
    a, ours = net.started()
    a.connect(address)
    net.until(lambda: ours.failures)
    assert ours.failures[0][0] == address
    assert a.counters[counter] == 1


def test_two_links_between_two(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair()
    back, forth = net.join(b, theirs, a, ours)
    a.send(here, small(1))
    a.send(forth, small(2))
    net.until(lambda: len(theirs.got) == 2)
    assert theirs.got == {there: [small(1)], back: [small(2)]}


def test_many_links(net: Net) -> None:
    hub, theirs = net.started()
    spokes = [net.started() for _ in range(12)]
    pairs = [net.join(spoke, owner, hub, theirs) for spoke, owner in spokes]
    for number, ((spoke, _), (here, there)) in enumerate(zip(spokes, pairs, strict=True)):
        spoke.send(here, small(number))
        hub.send(there, small(100 + number))
    net.until(lambda: len(theirs.got) == 12 and all(owner.got for _, owner in spokes))
    for number, ((_, owner), (here, there)) in enumerate(zip(spokes, pairs, strict=True)):
        assert theirs.got[there] == [small(number)]
        assert owner.got[here] == [small(100 + number)]
    assert len(hub.stats()["links"]) == 12
    assert hub.counters["links_opened"] == 12


# ---- messages


def test_order(net: Net) -> None:
    a, _, here, _, theirs, there = net.pair()
    sent = [part(n, 30_000) if n % 50 == 0 else small(n) for n in range(2000)]
    for message in sent:
        assert a.send(here, message)
    net.until(lambda: len(theirs.got.get(there, [])) == len(sent))
    assert theirs.got[there] == sent


def test_order_when_many_threads_send(net: Net) -> None:
    a, _, here, _, theirs, there = net.pair()

    def send(base: int) -> None:
        for number in range(300):
            assert a.send(here, small(base + number))

    threads = [threading.Thread(target=send, args=(base,)) for base in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    net.until(lambda: len(theirs.got.get(there, [])) == 900)
    numbers = [message.transfer for message in theirs.got[there] if isinstance(message, m.Credit)]
    for base in (0, 1000, 2000):
        assert [number for number in numbers if base <= number < base + 1000] == list(range(base, base + 300))


def test_sending_from_within_events(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair()
    theirs.notice = lambda kind, *rest: kind == "message" and b.send(there, rest[1])
    a.send(here, small(5))
    net.until(lambda: ours.got)
    assert ours.got == {here: [small(5)]}


def test_messages_up_to_the_limit(net: Net) -> None:
    a, _, here, b, theirs, there = net.pair(**SMALL_FRAMES)
    limit = 3 * MIB
    size = limit - (len(encode(part(1, limit))) - limit)
    assert len(encode(part(1, size))) == limit
    assert a.send(here, part(1, size))
    assert not a.send(here, part(2, size + 1))
    assert a.counters["frame_too_large"] == 1
    assert a.send(here, small(3))
    net.until(lambda: len(theirs.got.get(there, [])) == 2)
    assert theirs.got[there] == [part(1, size), small(3)]
    assert b.stats()["links"][there]["messages_received"] == 2


def test_a_frame_beyond_the_receivers_limit_ends_the_link(net: Net) -> None:
    a, ours = net.started()
    b, theirs = net.started(**SMALL_FRAMES)
    here, there = net.join(a, ours, b, theirs)
    a.send(here, small(1))
    net.until(lambda: theirs.got)
    assert a.send(here, part(2, 4 * MIB))
    net.until(lambda: ours.downs and theirs.downs)
    assert theirs.got == {there: [small(1)]}
    assert b.counters["oversized_frame"] == 1
    assert net.join(a, ours, b, theirs) == (here + 1, there + 1)


def test_bytes_are_counted(net: Net) -> None:
    a, _, here, b, theirs, there = net.pair()
    frame = len(encode(part(1, 1000))) + 5
    a.send(here, part(1, 1000))
    net.until(lambda: theirs.got and a.stats()["links"][here]["bytes_sent"])
    sent, received = a.stats()["links"][here], b.stats()["links"][there]
    assert (sent["bytes_sent"], sent["frames_sent"], sent["messages_sent"]) == (frame, 1, 1)
    assert (received["bytes_received"], received["frames_received"], received["messages_received"]) == (frame, 1, 1)
    assert a.counters["bytes_sent"] == b.counters["bytes_received"] == frame
    assert a.stats()["counters"]["frames_sent"] == 1
    assert sent["queued_bytes"] == 0


# ---- ends


def test_disconnect_delivers_what_was_sent_and_tells_both(net: Net) -> None:
    for caller in (True, False):
        a, ours, here, b, theirs, there = net.pair()
        one, mine, link, other, far = (a, ours, here, theirs, there) if caller else (b, theirs, there, ours, here)
        for number in range(200):
            one.send(link, small(number))
        one.disconnect(link, "enough")
        assert not one.send(link, small(999))
        net.until(lambda mine=mine, other=other: mine.downs and other.downs)  # type: ignore[misc]
        assert other.got[far] == [small(number) for number in range(200)]
        assert mine.downs == [(link, "enough")]
        assert other.downs[0][0] == far
        assert one.stats()["links"] == {}
        one.disconnect(link)  # nothing is left to end
        assert not one.send(link, small(1))


def test_link_down_is_said_once_and_last(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair()
    b.send(there, small(1))
    net.until(lambda: ours.got)
    a.disconnect(here, "a")
    b.disconnect(there, "b")
    net.until(lambda: ours.downs and theirs.downs)
    a.stop()
    b.stop()
    assert [event[:2] for event in ours.log] == [("up", here), ("message", here), ("down", here)]
    assert [event[:2] for event in theirs.log] == [("up", there), ("down", there)]


def test_reconnect_makes_a_new_link(net: Net) -> None:
    a, ours, here, b, theirs, _ = net.pair()
    a.disconnect(here)
    net.until(lambda: ours.downs and theirs.downs)
    again, there = net.join(a, ours, b, theirs)
    assert again != here
    a.send(again, small(7))
    net.until(lambda: theirs.got)
    assert theirs.got == {there: [small(7)]}


def test_stop_is_heard_and_frees_the_address(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair()
    b.send(there, small(1))
    address = b.address
    b.stop()
    assert theirs.downs == [(there, "stopped")]
    net.until(lambda: ours.downs)
    assert ours.got == {here: [small(1)]}
    assert not b.send(there, small(2))
    again = net.make(listen=address)
    again.start(theirs)
    assert again.address == address
    net.join(a, ours, again, theirs)


def test_stop_while_others_send(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair()
    enough = threading.Event()

    def flood() -> None:
        number = 0
        while a.send(here, small(number)):
            number += 1
            if number == 500:
                enough.set()

    thread = threading.Thread(target=flood)
    thread.start()
    assert enough.wait(20)
    a.stop()
    thread.join(20)
    assert not thread.is_alive()
    net.until(lambda: theirs.downs)
    got = [message.transfer for message in theirs.got.get(there, []) if isinstance(message, m.Credit)]
    assert got == list(range(len(got)))
    assert len(ours.downs) == len(theirs.downs) == 1
    events = len(ours.log)
    b.stop()
    assert len(ours.log) == events


def test_a_stopped_transport_stays_stopped(net: Net) -> None:
    a, owner = net.started()
    with pytest.raises(Closed):
        a.start(owner)
    a.stop()
    a.stop()
    with pytest.raises(Closed):
        a.start(owner)
    a.connect("127.0.0.1:1")
    a.disconnect(1)
    a.pause(1)
    a.resume(1)
    assert not a.send(1, small(1))
    assert owner.log == []


# ---- what the other side gets wrong


@pytest.mark.parametrize("frame", [b"garbage that is no frame", b"", b"\x0a\x00", encode(m.JoinDone(node=""))])
def test_bad_frames_end_the_link_and_nothing_else(net: Net, frame: bytes) -> None:
    a, ours, here, b, theirs, there = net.pair()
    a.send(here, small(1))
    net.until(lambda: theirs.got)
    net.post_raw(a, here, frame)
    net.until(lambda: ours.downs and theirs.downs)
    assert theirs.downs[0][1].startswith("bad frame: ")
    assert "bad frame" in ours.downs[0][1]
    assert b.counters["bad_frame"] == 1
    assert theirs.got == {there: [small(1)]}
    net.join(a, ours, b, theirs)


def test_silence_ends_the_link(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair(connect_timeout=0.2)
    a.send(here, small(1))  # the caller has spoken, the called one has not
    net.until(lambda: ours.downs and theirs.downs)
    assert ours.downs == [(here, "cut: the other side says nothing")]
    assert a.counters["silent_links"] == 1
    assert b.counters["silent_links"] == 0
    assert theirs.got == {there: [small(1)]}


def test_one_word_is_enough(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair(connect_timeout=0.1)
    a.send(here, small(1))
    b.send(there, small(1))
    late, other = net.started(connect_timeout=0.1)
    net.join(late, other, b, theirs)
    net.until(lambda: other.downs)  # a link that is silent all the while, made later, has ended
    assert ours.links() == [here]
    assert there in theirs.links()


def fill(transport: object, link: int, size: int) -> int:
    """Send parts until the queue is full; how many were taken."""
    for number in range(4000):
        if not transport.send(link, part(number, size)):  # type: ignore[attr-defined]
            return number
    raise AssertionError("the queue has no bound")


def test_a_slow_reader_is_cut_when_the_queue_is_full(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair(send_queue_bytes_max=512 * KIB)
    b.pause(there)
    taken = fill(a, here, 100 * KIB)
    assert taken >= 5
    net.until(lambda: ours.downs)
    assert ours.downs == [(here, "cut: the other side does not read")]
    assert a.counters["send_queue_overflow"] == 1
    net.until(lambda: theirs.downs)
    assert len(theirs.got.get(there, [])) <= taken
    net.join(a, ours, b, theirs)


def test_a_slow_caller_is_cut_too(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair(send_queue_bytes_max=512 * KIB)
    a.pause(here)
    fill(b, there, 100 * KIB)
    net.until(lambda: theirs.downs)
    assert b.counters["send_queue_overflow"] == 1
    a.resume(here)
    net.until(lambda: ours.downs)


def test_a_paused_link_goes_on_where_it_was(net: Net) -> None:
    a, ours, here, b, theirs, there = net.pair()
    a.send(here, small(0))
    net.until(lambda: theirs.got)
    b.pause(there)
    sent = [part(number, 200 * KIB) for number in range(1, 100)]
    for message in sent:
        assert a.send(here, message)
    b.send(there, small(1))  # the other direction is free
    net.until(lambda: ours.got)
    net.until(lambda: a.stats()["links"][here]["queued_bytes"] > 0)
    assert len(theirs.got[there]) < 60
    b.resume(there)
    net.until(lambda: len(theirs.got[there]) == 100)
    assert theirs.got[there][1:] == sent
    net.until(lambda: a.stats()["links"][here]["queued_bytes"] == 0)


# ---- addresses


def test_two_on_one_port(net: Net) -> None:
    a, _ = net.started()
    second = net.make(listen=a.address)
    with pytest.raises(ListenFailed, match="in use"):
        second.start(Owner())


@pytest.mark.parametrize("listen", ["", "nonsense", "127.0.0.1", "127.0.0.1:70000"])
def test_bad_listen_addresses(net: Net, listen: str) -> None:
    transport = net.make()
    transport._config = type(transport._config)(listen=listen)  # past validation, as a caller of the class could be
    with pytest.raises(ConfigError):
        transport.start(Owner())


def test_beyond_loopback_needs_a_word(net: Net) -> None:
    transport = net.make()
    transport._config = type(transport._config)(listen="0.0.0.0:0")
    with pytest.raises(InsecureAddress):
        transport.start(Owner())
    b, owner = net.started(listen="0.0.0.0:0", insecure=True)
    assert b.address.startswith("0.0.0.0:")
    assert owner.log == []
