"""Tests of TLS: certificates, identities, diagnoses, and nodes that use them."""

import crdtsync.security  # noqa: F401  it keeps gRPC quiet, if loaded first
