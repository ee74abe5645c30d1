"""Environment report, stack probe and runner helpers."""
