"""Settings from everywhere: defaults, then a TOML file, then the environment, then flags; what comes later wins.

`table` lists every setting once, made from the structs that hold them; `sources` reads the four.
"""
