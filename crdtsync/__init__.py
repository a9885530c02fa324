"""crdtsync: a replicated data store of CRDTs that services embed.  `open` gives a Node; docs/python-api.md has it all."""
