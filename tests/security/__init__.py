"""Tests of TLS: certificates, identities, diagnoses, and nodes that use them."""
