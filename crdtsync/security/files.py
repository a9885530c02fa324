"""TLS files in use: loaded, looked at again every few seconds, and replaced when they have changed and are good.

A broken set never replaces a good one: it is counted and logged, what was loaded before stays in use, and it is looked
at again.  So files may be written one after the other, in any order.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from crdtsync.config import TLS_FILES, Config, ConnectConfig
from crdtsync.errors import CertificateError
from crdtsync.security.identity import Identity
from crdtsync.security.material import Material, Paths, load

log = logging.getLogger("crdtsync.security")
DAY = 86_400.0  # s
TOLD_AT = 2  # looks in a row that find files bad before the log says so
WARN_DAYS = (7.0, 30.0)  # days before the end of a certificate at which the log and a counter say so


class TlsFiles:
    """The certificate that this process shows, and the authority that others must be vouched for by.

    Any thread may call.  `counters`: tls_reloads, tls_reloads_failed, tls_expiry_warnings, tls_key_readable_by_others.
    """

    def __init__(self, paths: Paths, interval: float = Config().tls_reload_interval) -> None:
        """Load; `interval`: seconds between looks at the files once started.  Raises CertificateError."""
        self.paths, self.counters = paths, Counter[str]()
        self._interval = interval
        self._lock = threading.Lock()  # one look at a time
        self._listeners: list[Callable[[], None]] = []
        self._error, self._warned = "", math.inf  # days at which the last warning was due
        self._bad_looks = 0  # in a row
        self._seen = self._look_of_files()
        self._material = load(paths)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._check_mode()

    @classmethod
    def of(cls, config: Config | ConnectConfig) -> TlsFiles | None:
        """As the settings say; None when they ask for no TLS.  Raises CertificateError."""
        if not config.tls_cert:
            return None
        paths = Paths(*(getattr(config, setting) for setting in TLS_FILES))
        return cls(paths, config.tls_reload_interval) if isinstance(config, Config) else cls(paths)

    @property
    def material(self) -> Material:
        """What is in use now."""
        return self._material

    @property
    def identity(self) -> Identity:
        """Whom the certificate speaks for; it never changes."""
        return self._material.identity

    def require(self, role: str, name: str | None = None) -> None:
        """Raise CertificateError unless the certificate is for this role, and this name if one is given."""
        mine = self.identity
        if mine.role != role or (name is not None and mine.name != name):
            wanted = f"a {role}" if name is None else str(Identity(role, name))
            raise CertificateError(f"tls_cert: {self.paths.tls_cert!r} is for {mine}, not for {wanted}.")

    # -- looking again
    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each change, on the thread that looked; it returns soon and does not raise."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Call `listener` no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def start(self) -> None:
        """Look every `interval` seconds from now on, on a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="crdtsync-tls", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more; what is loaded stays usable."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.look()
            except Exception:
                self.counters["internal_error"] += 1
                log.exception("The TLS files could not be looked at; a bug in crdtsync.")

    def look(self) -> bool:
        """Look at the files now; whether another set is in use since.  Never raises for what they hold."""
        with self._lock:
            changed = self._look_again()
            self._look_at_end()
        if changed:
            for listener in list(self._listeners):
                listener()
        return changed

    def _look_again(self) -> bool:
        seen = self._look_of_files()
        if seen == self._seen and not self._error:
            return False
        self._seen = seen
        try:
            found = load(self.paths)
            self._check_same(found.identity)
        except CertificateError as error:
            self._failed(error)
            return False
        self._error, self._bad_looks = "", 0
        old, self._material = self._material, found
        if (old.ca, old.cert, old.key) == (found.ca, found.cert, found.key):
            return False
        self._warned = math.inf
        self.counters["tls_reloads"] += 1
        log.info("%s have been loaded again; the certificate of %s ends %s.", self.paths, self.identity, self._end())
        self._check_mode()
        return True

    def _check_same(self, identity: Identity) -> None:
        if identity != self.identity:
            raise CertificateError(f"tls_cert: {self.paths.tls_cert!r} is for {identity}, not for {self.identity}.")

    def _failed(self, error: CertificateError) -> None:
        """Tell of it at the second look in a row: at the first, they may still be being replaced."""
        self._bad_looks += 1
        if self._bad_looks == TOLD_AT or (self._bad_looks > TOLD_AT and error.message != self._error):
            self.counters["tls_reloads_failed"] += 1
            log.error("The changed TLS files are not used, those loaded before stay in use: %s", error.message)
        self._error = error.message

    def _look_of_files(self) -> tuple[Any, ...]:
        """Changes whenever a file does, or another is put in its place."""
        return tuple(_look_of(getattr(self.paths, setting)) for setting in TLS_FILES)

    def _check_mode(self) -> None:
        """A key that every user may read is worth a warning, not a refusal: some ways of handing it over do that."""
        try:
            readable = os.stat(self.paths.tls_key).st_mode & stat.S_IROTH
        except OSError:
            return
        if readable:
            self.counters["tls_key_readable_by_others"] += 1
            log.warning("tls_key: every user of this machine can read %r; chmod 600 it.", self.paths.tls_key)

    # -- the end of a certificate
    def days_left(self) -> float:
        """Days until the certificate ends, or its authority does; negative once it has."""
        return (min(self._material.not_after, self._material.ca_not_after) - time.time()) / DAY

    def _look_at_end(self) -> None:
        """Warn once at each of WARN_DAYS, and at the end."""
        left = self.days_left()
        passed = next((days for days in (0.0, *WARN_DAYS) if left <= days), None)
        if passed is None or passed >= self._warned:
            return
        self._warned = passed
        self.counters["tls_expiry_warnings"] += 1
        level = logging.ERROR if left <= WARN_DAYS[0] else logging.WARNING
        when = f"ends {self._end()}: {left:.1f} days" if left > 0 else f"ended {self._end()}: new links fail"
        log.log(level, "The certificate of %s, or its authority, %s.", self.identity, when)

    def _end(self) -> str:
        return _date(min(self._material.not_after, self._material.ca_not_after))

    def status(self) -> dict[str, Any]:
        """Plain values for people and metrics."""
        material = self._material
        return {
            "identity": material.identity.uri, "hosts": list(material.hosts), "issuer": material.issuer,
            "serial": material.serial, "not_after": _date(material.not_after),
            "ca_not_after": _date(material.ca_not_after), "days_left": round(self.days_left(), 2),
            "last_error": self._error,
        }  # fmt: skip


def _look_of(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _date(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
