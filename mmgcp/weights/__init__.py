"""Checkpoint layouts, conversion and strict loading."""
