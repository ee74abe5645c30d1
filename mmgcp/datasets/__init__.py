"""Scenes, checks of data, subsets and registered transforms."""

from .corruption import Corrupt

__all__ = ['Corrupt']
