"""Benchmarks that can be repeated: workloads in small files, systems behind adapters, one JSON a run.

A **workload** names a **driver** (what is measured), **systems** (what it is measured on) and the targets that it
judges.  Each sample of a system is taken in a process of its own, in turns with the other systems.
"""
