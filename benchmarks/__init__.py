"""How fast it is, beside what else one could use: `make bench`, or `python -m benchmarks --help`."""
