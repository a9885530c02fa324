"""Fuzzing of every decoder: what is not well formed ends in the one error that is meant for it, nothing else.

    python -m tests.fuzz --target image --count 1000000 --seed 7     one campaign; a failure is written to corpus/
    python -m tests.fuzz --count 100000                              all targets, one after another

`targets` says what is fuzzed and what may come of it, `seeds` gathers well-formed inputs from a simulated cluster,
`mutate` spoils them.  Inputs that have failed before stay in corpus/, named TARGET-DIGEST, and are tried on every run.
"""
