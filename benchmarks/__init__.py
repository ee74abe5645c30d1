"""Time and memory beside the published algorithms: ``python -m benchmarks``."""
