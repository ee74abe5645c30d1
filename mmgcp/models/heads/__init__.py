"""Heads of classifiers and segmentors."""
