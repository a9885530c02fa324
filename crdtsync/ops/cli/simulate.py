"""`crdtsync simulate`: the deterministic simulator, as a command."""

from __future__ import annotations

import click


@click.command(
    "simulate", add_help_option=False, context_settings={"ignore_unknown_options": True}, options_metavar="[OPTIONS]"
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="")
def command(arguments: tuple[str, ...]) -> int:
    """Run clusters in virtual time, with every fault, from a seed.

    The same as `python -m crdtsync.sim`: production code in one process, on simulated networks and disks.
    `crdtsync simulate --seed 7 --trace` tells one run, `--seeds 0..999 --jobs 2 --report DIR` judges many and counts
    what they met, `--without power` and `--only loss` choose the troubles, `--shrink` makes a small case of a seed that
    fails.  `--nodes 10,100,1000 --report DIR` is the scale study: what clusters of these sizes cost and how soon they
    agree, with 0, 5, 20 and 50 % of all messages lost, as JSON and (with the extra `study`) as plots.  `--help` has the
    rest.
    """
    from crdtsync.sim.__main__ import main

    return main(list(arguments))
