"""`python -m crdtsync`: the same as the `crdtsync` command."""

from __future__ import annotations

import sys

from crdtsync.ops.cli.main import main

sys.exit(main())
