"""Time and memory of the parts, always against something in the same process."""
