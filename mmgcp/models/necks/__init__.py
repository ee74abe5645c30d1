"""Pooling heads of classifiers and necks of detectors and segmentors."""
