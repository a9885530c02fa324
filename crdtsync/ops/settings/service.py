"""Settings of the process that `crdtsync start` runs, beside those of the node in it."""

from __future__ import annotations

import msgspec

from crdtsync.config import SECONDS_MAX
from crdtsync.errors import ConfigError

LISTEN = "127.0.0.1:7400"  # where peers are accepted when nothing else is said
SERVE = "127.0.0.1:7410"  # where programs are served, and where the command line looks for a node
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")


class ServiceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one process.  They come from the same places, and under the same kinds of names, as a node's."""

    # -- the process (`crdtsync start`)
    directory: str = ""  # where the data is; the argument DIR
    serve: str = SERVE  # address to serve programs on: host:port or unix:PATH; empty: none
    admin: str = ""  # address for operators, host:port or unix:PATH; empty: unix:DIR/admin.sock
    metrics: str = ""  # host:port to answer HTTP on with metrics and health; empty: none
    log_format: str = "text"  # text | json: one object a line
    log_level: str = "info"  # debug | info | warning | error: the least that is told

    stop_timeout: float = 25.0  # s that stopping may take in all; then the process ends as it is, and loses nothing

    def validate(self) -> ServiceSettings:
        """Return self, or raise ConfigError that names the setting and what it may be."""
        if not 0 < self.stop_timeout <= SECONDS_MAX:  # NaN is neither
            raise ConfigError(f"stop_timeout is {self.stop_timeout}; it must be from above 0 to {SECONDS_MAX:,.0f}.")
        for name, allowed in (("log_format", LOG_FORMATS), ("log_level", LOG_LEVELS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it may be one of {', '.join(allowed)}.")
        return self


# Where a process that is there to be reached differs from a node inside a program.
START_DEFAULTS = {"listen": LISTEN}
