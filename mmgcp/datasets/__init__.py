"""Scenes, checks of data, subsets and registered transforms and data sets."""

from .corruption import Corrupt
from .imagenet_p import ImageNetP

__all__ = ['Corrupt', 'ImageNetP']
