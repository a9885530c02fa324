"""A node served over gRPC: programs read and write through the Data service, operators through the Admin service.

    server     listeners, their life and their end
    calls      what every call goes through: bounds, counters, errors; `workers` says on which thread it is worked off
    data       the Data service; `applying`, `reading`, `scanning` and `watching` are its parts
    admin      the Admin service
    values     Value messages <-> Python values and canonical bytes; `answers` makes them from rows
    operations Operation messages -> what a batch carries out
    errors     error classes <-> gRPC statuses

Protobuf types stay in here.  grpcio-health-checking and grpcio-reflection come with `pip install crdtsync[server]`.
"""

from __future__ import annotations

from crdtsync.service.server import Server, serve

__all__ = ["Server", "serve"]
