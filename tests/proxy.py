"""The TCP proxy of the demonstration, for tests that need a network that breaks."""

from crdtsync.ops.demo.proxy import FROM_TARGET, TO_TARGET, Proxy

__all__ = ["FROM_TARGET", "TO_TARGET", "Proxy"]
