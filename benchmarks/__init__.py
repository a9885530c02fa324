"""Measurements: run from the top of the repository, as `python -m benchmarks.micro.kernels`."""
