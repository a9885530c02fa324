"""The `crdtsync` command: a file per command, loaded when it is called."""
