"""Settings of a node: one frozen struct, each field with its unit, default and reason.

`ClusterSettings` must be equal on all members and are compared at the handshake; the rest is each process's choice.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from crdtsync.bounds import INTEGER_MAX, MANY
from crdtsync.errors import ConfigError, InsecureAddress

KIB, MIB = 1024, 1024 * 1024
TLS_FILES = ("tls_ca", "tls_cert", "tls_key")
HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%")
DURABILITIES = ("group", "each", "os")
COMPRESSIONS = ("auto", "off")
VERIFICATIONS = ("unclean", "always", "never")
SESSIONS = ("none", "writes", "reads")
RETRIES = ("never", "idempotent")
EVICT_AFTER_MIN = 10  # s: below, a restart or a busy machine looks like an absence
SECONDS_MAX = 1e9  # of any setting: 30 years; clocks and waits of the system end not far beyond
MS_MAX = 2**31 - 1  # that gRPC and messages take: 24 days


class ClusterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every member must share; a difference is refused at the handshake with the name of the setting."""

    value_bytes_max: int = MIB  # one value, encoded: a row must fit into a part (elements live in row keys: 64 KiB)
    key_bytes_max: int = 255  # UTF-8 bytes of a key or a field name: an object's prefix then always fits LMDB's 511
    depth_max: int = 16  # maps within maps, and lists or dicts within a value
    part_bytes_max: int = 8 * MIB  # columns of one part; also bounds what a receiver decodes at once
    batch_bytes_max: int = 4 * MIB  # rows of one batch: below part_bytes_max, so that a batch is never split
    evict_after: int = 0  # s of listening without a word of a member after which all vote to evict it; 0: never


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one node.  `crdtsync.open(path, **settings)` takes each of these by name."""

    # -- who and where
    name: str = ""  # node name, unique in the cluster; empty: one is minted at the first open and kept
    listen: str = ""  # "host:port" to accept peers on; port 0 picks a free one; empty: no network
    advertise: str = ""  # address told to others; empty: the bound address
    join: tuple[str, ...] = ()  # addresses of members to join through
    insecure: bool = False  # allow plaintext beyond loopback
    tls_ca: str = ""  # file of the authorities that vouch for others, PEM; with the next two it turns TLS on
    tls_cert: str = ""  # file of this node's certificate, PEM, with intermediate ones after it
    tls_key: str = ""  # file of its private key, PEM, not encrypted
    tls_reload_interval: float = 10.0  # s between looks at the three files; cheap: a stat each
    connection_age_max: float = 3600.0  # s after which a TLS link is made anew, so that ended certificates end links
    cluster: ClusterSettings = ClusterSettings()

    # -- durability and storage
    durability: str = "group"  # group | each | os: see README, "What is promised"
    accept_damage: bool = False  # open a damaged store from the part that checks out; the rest is set aside
    verify_on_open: str = "unclean"  # unclean | always | never: whether every page of the table is verified before use
    new_cluster: bool = False  # found a new cluster from a directory that belonged to another (restored from backup)
    flush_interval: float = 0.002  # s: longest that a write waits for others to share its fdatasync
    flush_bytes: int = MIB  # bytes after which a flush starts at once
    segment_bytes: int = 16 * MIB  # one journal segment file
    journal_mapped: bool | None = None  # True: mmap, False: pwrite, None: mmap but for durability "each", tmpfs, btrfs
    checkpoint_interval: float = 1.0  # s between checkpoints while there is something to write
    checkpoint_bytes: int = 64 * MIB  # dirty bytes that start a checkpoint early
    dirty_bytes_max: int = 256 * MIB  # dirty bytes at which writers wait, and peers are told to try again later
    write_stall_max: float = 10.0  # s a writer waits at the bound before Overloaded
    cache_bytes_max: int = 64 * MIB  # clean rows kept in memory
    slice_rows: int = 500  # rows that long work handles before it lets writers in: a few ms
    map_bytes: int = 64 * 1024 * MIB  # LMDB map reserved (sparse); grown when 80 % used
    reader_age_max: float = 30.0  # s a scan may hold one LMDB snapshot before it must take a new one
    backup_time_max: float = 6 * 3600.0  # s one backup may hold its LMDB snapshot: freed pages wait for it
    merge_bytes_max: int = 256 * MIB  # rows that one merge of a backup may bring into a bucket: they go in at once

    # -- replication
    heartbeat_interval: float = 1.0  # s between clocks told to every peer
    pull_interval: float = 1.0  # s, mean, between pulls from a random peer (with jitter)
    push_delay: float = 0.0005  # s that pushes gather writes before they leave
    reconnect_max: float = 2.0  # s: bound of the jittered backoff
    connect_timeout: float = 5.0  # s
    join_timeout: float = 30.0  # s that open() waits for a sponsor
    joining_expiry: float = 600.0  # s after which a sponsor forgets a joiner that never became whole
    suspect_phi: float = 8.0  # phi accrual threshold at which a peer counts as unreachable
    part_bytes: int = 512 * KIB  # size that parts aim at
    transfer_bytes_max: int = 64 * MIB  # difference above which a transfer becomes a long one (a scan)
    credit_parts: int = 4  # parts in flight per transfer
    transfers_out_max: int = 8  # transfers served at the same time
    staged_bytes_max: int = 256 * MIB  # rows of unfinished transfers in memory; beyond, all but one are asked for again
    parked_bytes_max: int = 32 * MIB  # rows of pushes that wait for what they build on; beyond, they are refused
    actors_per_part_max: int = 65_536  # actors named by one part
    collect_interval: float = 1.0  # s between collections
    max_clock_skew_warn: float = 1.0  # s of difference between a peer's clock and ours that is counted and logged
    max_clock_skew_alarm: float = 60.0  # s of difference that status() shows as an alarm
    fan_out: int = 3  # peers that a writer pushes to in clusters above full_mesh_max
    full_mesh_max: int = 8  # members up to which everybody pushes to everybody
    members_max: int = 1024  # member records kept; more are refused
    buckets_max: int = 1024  # buckets of a store
    send_queue_bytes_max: int = 64 * MIB  # bytes waiting to be sent on one link before the link is cut
    message_bytes_max: int = 16 * MIB  # one frame on the wire, both directions
    links_max: int = 2048  # links that others opened to us: two for every member that members_max allows
    connections_max: int = 4096  # connections that others hold open to us; at most a third of the files it may open
    frame_batch_bytes: int = 64 * KIB  # small messages that wait for one link leave as one frame up to this size
    compression: str = "auto"  # auto | off: zstd for large parts that were asked for, between nodes with crdtsync[zstd]
    keepalive_interval: float = 5.0  # s of silence after which a link is probed
    keepalive_timeout: float = 5.0  # s that a probe may stay unanswered before the link is cut
    link_drain_timeout: float = 1.0  # s that a link being ended in good order takes to hand over what was queued
    connect_proxy: str = ""  # "host:port" of an HTTP CONNECT proxy that outgoing links go through; empty: direct

    # -- service to callers
    watch_pending_max: int = 100_000  # changes that one watcher may fall behind
    conflicts_kept: int = 1_000  # conflicts remembered for status()
    requests_kept: int = 300_000  # request ids remembered, some 250 bytes each: 15 s of 20,000 writes a second
    request_age_max: float = 86_400.0  # s that a request id is remembered: longer than any caller goes on retrying
    close_timeout: float = 5.0  # s that close() spends pushing what is unsent

    def validate(self) -> Config:
        """Return self, or raise ConfigError that names the setting and what it may be."""
        if self.durability not in DURABILITIES:
            raise ConfigError(f"durability is {self.durability!r}; it may be one of {', '.join(DURABILITIES)}.")
        if self.verify_on_open not in VERIFICATIONS:
            raise ConfigError(
                f"verify_on_open is {self.verify_on_open!r}; it may be one of {', '.join(VERIFICATIONS)}."
            )
        if self.compression not in COMPRESSIONS:
            raise ConfigError(f"compression is {self.compression!r}; it may be one of {', '.join(COMPRESSIONS)}.")
        for field in msgspec.structs.fields(self):
            _check_positive(field.name, getattr(self, field.name))
        for field in msgspec.structs.fields(self.cluster):
            if field.name != "evict_after":
                _check_positive(f"cluster.{field.name}", getattr(self.cluster, field.name))
        after = self.cluster.evict_after
        if after != 0 and not EVICT_AFTER_MIN <= after <= SECONDS_MAX:
            raise ConfigError(
                f"cluster.evict_after is {after}; it may be 0 (never), or {EVICT_AFTER_MIN} to {SECONDS_MAX:,.0f} s."
            )
        if after and after < 5 * self.heartbeat_interval:
            raise ConfigError("cluster.evict_after must be at least five times heartbeat_interval.")
        if self.cluster.batch_bytes_max >= self.cluster.part_bytes_max:
            raise ConfigError("cluster.batch_bytes_max must be below cluster.part_bytes_max: a batch is never split.")
        if self.cluster.value_bytes_max > self.cluster.batch_bytes_max // 2:
            raise ConfigError("cluster.value_bytes_max must be at most half of cluster.batch_bytes_max.")
        if self.cluster.part_bytes_max > self.message_bytes_max - MIB:
            raise ConfigError("cluster.part_bytes_max must leave 1 MiB of message_bytes_max for the frame.")
        if self.segment_bytes < 2 * self.cluster.batch_bytes_max:
            raise ConfigError("segment_bytes must be at least twice cluster.batch_bytes_max.")
        if self.join and not self.listen:
            raise ConfigError("join needs listen: a member must be reachable.", hint='Try listen="127.0.0.1:0".')
        _check_tls_files(self)
        for what, address in (
            ("listen", self.listen), ("advertise", self.advertise), ("connect_proxy", self.connect_proxy),
        ):  # fmt: skip
            if address:
                check_address(what, address, self.anywhere)
        for address in (*self.join, self.advertise):
            if address and split_address("join", address)[1] == 0:
                raise ConfigError(f"Nobody can be reached at {address!r}: port 0 is for listen only.")
        for address in self.join:
            check_address("join", address, self.anywhere)
        return self

    @property
    def anywhere(self) -> bool:
        """Whether addresses beyond loopback are allowed: with TLS, or by name."""
        return bool(self.tls_cert) or self.insecure


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one server.  `crdtsync.serve(node, **settings)` takes each of these by name."""

    # -- where
    serve: str = "127.0.0.1:0"  # "host:port" or "unix:/path" of the Data service; port 0 picks a free one
    admin: str = ""  # the same for a listener of its own, with the Admin service; empty: none
    insecure: bool = False  # allow plaintext beyond loopback; with TLS files the node's settings ask for TLS over TCP

    # -- bounds of a call
    message_bytes_max: int = 8 * MIB  # one request or response: twice what a batch may hold
    metadata_bytes_max: int = 16 * KIB  # headers of one call
    wait_max: float = 300.0  # s that a call without a sooner deadline may wait for a token, or for a leave
    stall_max: float = 60.0  # s that a response may wait for its reader before the call is ended
    page_bytes: int = 256 * KIB  # size that pages of a scan, of elements and of changes aim at
    restore_bytes_max: int = 16 * 1024 * MIB  # backup files of one restore, in the node's directory until merged
    window_bytes: int = MIB  # requests of one ApplyStream that are read ahead of the store
    heartbeat: float = 10.0  # s of silence after which a watch without a wish of its own is told its token

    # -- bounds of the server
    calls_max: int = 1024  # calls at a time, streams among them
    work_bytes_max: int = 128 * MIB  # requests, apart from streams, that are worked off at a time
    watchers_max: int = 512  # watches at a time
    backlog_max: int = 1_000_000  # changed objects that a watch may begin with, some 200 bytes each
    streams_max: int = 512  # calls at a time on one connection
    workers: int = 4  # threads for what takes longer than inline_bytes, and as many each for operators and their waits
    inline_bytes: int = 8 * KIB  # requests up to this are worked off on the event loop: a millisecond or two

    # -- connections
    connections_max: int = 4096  # at a time at one address; at most a third of the files that the process may open
    handshake_timeout: float = 10.0  # s until a connection speaks HTTP/2
    connection_idle_max: float = 600.0  # s without a call after which a connection is closed
    connection_age_max: float = 21_600.0  # s after which callers are asked to connect anew: new certificates get about
    connection_age_grace: float = 300.0  # s that calls of such a connection get to end
    keepalive_interval: float = 20.0  # s of silence after which a connection is probed
    keepalive_timeout: float = 10.0  # s that a probe may stay unanswered before the connection is cut
    ping_interval_min: float = 5.0  # s between pings of a caller; one that pings faster is sent away
    stop_grace: float = 5.0  # s that calls get to end when the server stops

    def validate(self) -> ServeConfig:
        """Return self, or raise ConfigError that names the setting and what it may be."""
        for field in msgspec.structs.fields(self):
            _check_positive(field.name, getattr(self, field.name))
        if self.message_bytes_max < 64 * KIB or self.page_bytes > self.message_bytes_max // 2:
            raise ConfigError("message_bytes_max must be at least 64 KiB, and twice page_bytes.")
        if self.work_bytes_max < self.message_bytes_max:
            raise ConfigError("work_bytes_max must be at least message_bytes_max.")
        for what in ("serve", "admin"):
            address = getattr(self, what)
            if address and not address.startswith("unix:"):
                split_address(what, address)  # whether it may be one beyond loopback depends on the node's TLS
        if not self.serve and not self.admin:
            raise ConfigError("Neither serve nor admin has an address.")
        return self


class ConnectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one client.  `crdtsync.connect(address, **settings)` takes each of these by name."""

    # -- one call
    timeout: float = 15.0  # s for a call with all its retries: longer than a node takes to start again
    attempt_timeout: float = 5.0  # s that one node may take before the call is tried again
    connect_timeout: float = 5.0  # s that a node may take to say who it is
    attempts: int = 20  # tries of one call, at whichever nodes; the timeout most often comes first
    backoff_min: float = 0.05  # s: bound of the first pause between tries, taken when every node has been tried once
    backoff_max: float = 2.0  # s: bound of the later ones, which double; each pause is a random part of its bound
    retry_elsewhere: str = "never"  # never | idempotent: whether adds, sets and the like may be tried at a second node
    message_bytes_max: int = 16 * MIB  # one request or answer; a node's own bound holds, too

    # -- several nodes
    session: str = "writes"  # none | writes | reads: what a node must hold before this client goes on there
    shuffle: bool = False  # begin with a random address, so that many clients spread; else with the first

    # -- security
    insecure: bool = False  # allow plaintext beyond loopback
    tls_ca: str = ""  # file of the authorities that vouch for nodes, PEM; with the next two it turns TLS on
    tls_cert: str = ""  # file of this client's certificate, PEM
    tls_key: str = ""  # file of its private key, PEM, not encrypted
    tls_node: str = ""  # name of the one node to talk to; empty: any node of the authority

    # -- connections
    keepalive_interval: float = 10.0  # s of silence after which a connection with a call on it is probed
    keepalive_timeout: float = 5.0  # s that a probe may stay unanswered before the connection is given up

    # -- listings, watchers, streams
    lane_idle: float = 1.0  # s without a single write after which the stream that such writes share is ended
    page_items: int = 1000  # keys or objects that a listing fetches at a time
    page_bytes: int = 4 * MIB  # bytes of them after which a page is cut short
    watch_ahead: int = 1000  # responses that a watcher takes in before they are asked for; then the node waits
    watch_heartbeat: float = 5.0  # s of silence after which a node repeats a watcher's token
    stream_operations: int = 1000  # operations of a stream that travel as one batch
    stream_bytes: int = 256 * KIB  # bytes of them after which a batch leaves early
    stream_window: int = 16  # batches of a stream that wait for their answer; then writing waits

    def validate(self) -> ConnectConfig:
        """Return self, or raise ConfigError that names the setting and what it may be."""
        for field in msgspec.structs.fields(self):
            _check_positive(field.name, getattr(self, field.name))
        for name, choices in (("session", SESSIONS), ("retry_elsewhere", RETRIES)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it may be one of {', '.join(choices)}.")
        _check_tls_files(self)
        if self.tls_node and not self.tls_cert:
            raise ConfigError("tls_node needs TLS: give tls_ca, tls_cert and tls_key, too.")
        return self

    @property
    def anywhere(self) -> bool:
        """Whether addresses beyond loopback are allowed: with TLS, or by name."""
        return bool(self.tls_cert) or self.insecure


S = TypeVar("S", Config, ServeConfig, ConnectConfig)


def make_config(settings: Mapping[str, Any]) -> Config:
    """Build and validate a Config from names and plain values (TOML, environment, keyword arguments)."""
    plain = dict(settings)
    if isinstance(plain.get("join"), str):
        plain["join"] = [plain["join"]]
    if isinstance(plain.get("cluster"), ClusterSettings):
        plain["cluster"] = msgspec.to_builtins(plain["cluster"])
    check_names(plain, Config)
    if isinstance(plain.get("cluster"), Mapping):
        check_names(plain["cluster"], ClusterSettings, "cluster.")
    return _converted(plain, Config)


def make_serve_config(settings: Mapping[str, Any]) -> ServeConfig:
    """Build and validate a ServeConfig from names and plain values."""
    check_names(settings, ServeConfig)
    return _converted(dict(settings), ServeConfig)


def make_connect_config(settings: Mapping[str, Any]) -> ConnectConfig:
    """Build and validate a ConnectConfig from names and plain values."""
    check_names(settings, ConnectConfig)
    return _converted(dict(settings), ConnectConfig)


def _converted(plain: dict[str, Any], kind: type[S]) -> S:
    try:
        return msgspec.convert(plain, kind).validate()
    except msgspec.ValidationError as error:
        what, at, where = str(error).partition(" - at `$.")
        raise ConfigError(f"Settings do not fit: {where.rstrip('`') + ': ' if at else ''}{what}.") from error


def check_names(settings: Mapping[str, Any], known: type[msgspec.Struct], within: str = "") -> None:
    """Refuse a setting that there is not, and tell the one that was meant."""
    for name in settings:
        if name not in known.__struct_fields__:
            if not within and name in ClusterSettings.__struct_fields__:
                near = [f'cluster={{"{name}": ...}}']
            else:
                near = difflib.get_close_matches(str(name), known.__struct_fields__, 1)
            hint = f"Did you mean {near[0]}?" if near else "docs/python-api.md lists them."
            raise ConfigError(f"There is no setting {within}{name}.", hint=hint)


def _check_tls_files(config: Config | ConnectConfig) -> None:
    given = [setting for setting in TLS_FILES if getattr(config, setting)]
    if given and len(given) < len(TLS_FILES):
        missing = ", ".join(setting for setting in TLS_FILES if setting not in given)
        raise ConfigError(f"TLS needs {', '.join(TLS_FILES)} together; missing: {missing}.")


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < math.inf:  # NaN is neither
        raise ConfigError(f"{name} is {value}; it must be a number above 0.")
    if isinstance(value, float) and value > SECONDS_MAX:
        raise ConfigError(f"{name} is {value:g}; it may be {SECONDS_MAX:,.0f} at most.")
    if type(value) is int and value > (most := INTEGER_MAX.get(name, MANY)):
        raise ConfigError(f"{name} is {value:,}; it may be {most:,} at most.")


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, from 1 to as many as gRPC and messages take."""
    return max(1, int(min(seconds * 1000, MS_MAX)))


def split_address(what: str, address: str) -> tuple[str, int]:
    """("host", port) of "host:port" or "[v6]:port"; ConfigError otherwise."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise ConfigError(f"{what} is {address!r}; it must be host:port with a port from 0 to 65535.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def check_address(what: str, address: str, anywhere: bool) -> None:
    """Refuse an address beyond loopback unless TLS is on or plaintext was allowed by name (`Config.anywhere`)."""
    host, _ = split_address(what, address)
    if not anywhere and not is_loopback(host):
        raise InsecureAddress(f"{what} {address!r} is not a loopback address, and traffic is not encrypted.")


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
