"""Addresses of listeners: "host:port", or "unix:/path" for a socket that only this user may open.

A socket file comes into being in a directory of its own that nobody else may enter, gets mode 0600, and is then moved
to its place, so that at no moment anybody else could connect.  A file that is there already is replaced only when it is
a socket on which nobody answers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import stat
import tempfile
from typing import Any

from crdtsync.config import is_loopback, split_address
from crdtsync.errors import ConfigError, ListenFailed
from crdtsync.transport.addresses import bindable

log = logging.getLogger("crdtsync.service")
UNIX = "unix:"
PATH_MAX = 107  # bytes of a socket's path, says Linux
MAKING = ".crdt-"  # begins the directory in which a socket is made
MAKING_BYTES = len(MAKING) + 8 + 2  # mkdtemp's name and "/s"


def bind(server: Any, what: str, address: str, insecure: bool, credentials: Any = None) -> Listener:
    """Have a gRPC server listen at an address; `what` names the setting.

    `credentials` (gRPC's, of a server) are for TCP; what goes over a socket file does not leave the machine.  Without
    them an address beyond loopback must be allowed by `insecure`.  Raises ListenFailed, ConfigError, InsecureAddress.
    """
    if address.startswith(UNIX):
        return _bind_unix(server, what, address.removeprefix(UNIX))
    target = bindable(what, address, insecure or credentials is not None)
    if credentials is None and not is_loopback(split_address(what, address)[0]):
        log.warning("%s listens beyond loopback without TLS (insecure=True): anybody on the way can read and write: %s",
                    what, address)  # fmt: skip
    return Listener(f"{target.rpartition(':')[0]}:{_add_port(server, target, address, credentials)}")


class Listener:
    """A bound address; for a socket file, also its end."""

    def __init__(self, address: str, path: str = "") -> None:
        self.address, self._path = address, path
        self._inode = os.stat(path).st_ino if path else 0

    def remove(self) -> None:
        """Remove the socket file, if it is still ours."""
        with contextlib.suppress(OSError):
            if self._path and os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)


def _add_port(server: Any, target: str, address: str, credentials: Any = None) -> int:
    try:
        if credentials is not None:
            return int(server.add_secure_port(target, credentials))
        return int(server.add_insecure_port(target))
    except RuntimeError as error:
        raise ListenFailed(f"Nothing can listen at {address}: {error}.") from error


def _bind_unix(server: Any, what: str, path: str) -> Listener:
    path = os.path.abspath(_checked_path(what, path))
    parent = os.path.dirname(path)
    longest = max(len(os.fsencode(path)), len(os.fsencode(parent)) + 1 + MAKING_BYTES)
    if longest > PATH_MAX:
        raise ConfigError(
            f"{what}: the path of a unix socket may have {PATH_MAX} bytes, {path!r} takes up to {longest}.",
            hint="Choose a shorter directory, under /run or /tmp.",
        )
    _check_free(path)
    try:
        making = tempfile.mkdtemp(prefix=MAKING, dir=parent)
    except OSError as error:
        raise ListenFailed(f"Nothing can listen at unix:{path}: {error.strerror}.") from error
    try:
        fresh = os.path.join(making, "s")
        _add_port(server, UNIX + fresh, UNIX + path)
        os.chmod(fresh, 0o600)
        os.rename(fresh, path)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return Listener(UNIX + path, path)


def _checked_path(what: str, path: str) -> str:
    if not path or "\0" in path or path.startswith("//"):
        raise ConfigError(f"{what} is {UNIX + path!r}; it must be unix: and the path of a file.")
    return path


def _check_free(path: str) -> None:
    """Raise ListenFailed when something is there that must stay."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenFailed(f"Nothing can listen at unix:{path}: {error.strerror}.") from error
    if not stat.S_ISSOCK(kind):
        raise ListenFailed(f"Nothing can listen at unix:{path}: a file that is no socket is there.")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # left behind by a process that is gone
        except OSError as error:
            raise ListenFailed(f"Nothing can listen at unix:{path}: {error.strerror}.") from error
    raise ListenFailed(f"Nothing can listen at unix:{path}: somebody does already.")
