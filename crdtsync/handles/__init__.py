"""Typed handles: thin verbs over `Backend`, which a node's bucket and a remote client both meet.

A handle holds no state but a key: make as many as you like, keep those that are hot.  Reading changes nothing, and
an object needs no creation: it is empty until something is written, and empty again when all of it is removed.
"""

from __future__ import annotations

from crdtsync.handles.base import Backend, Handle
from crdtsync.handles.counters import GCounter, PNCounter
from crdtsync.handles.maps import Map, Objects
from crdtsync.handles.registers import Flag, LWWRegister, MVRegister
from crdtsync.handles.sets import GSet, ORSet
from crdtsync.handles.told import Change, Item

__all__ = [
    "Backend",
    "Change",
    "Flag",
    "GCounter",
    "GSet",
    "Handle",
    "Item",
    "LWWRegister",
    "MVRegister",
    "Map",
    "ORSet",
    "Objects",
    "PNCounter",
]
