"""Heads of classifiers."""
