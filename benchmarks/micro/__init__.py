"""Time the gateway's parts in process, with pytest-benchmark: ``python -m benchmarks --micro``."""
