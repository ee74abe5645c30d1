"""The scenes data sets and their generator."""
