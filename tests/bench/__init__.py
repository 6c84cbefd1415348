"""
Benchmarks: how much the gateway costs, beside its peers. ``make bench``; micro-benchmarks are ``micro_*.py`` files.

Nothing here is a timed test: a slow machine fails nothing.
"""
