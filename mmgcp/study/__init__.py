"""Plan, run, collect and report a cross-task study."""
