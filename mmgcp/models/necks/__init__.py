"""Pooling heads of classifiers and necks of detectors and segmentors."""

from .global_covariance_pooling import GlobalCovariancePooling

__all__ = ['GlobalCovariancePooling']
