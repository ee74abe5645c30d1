"""Scenes, checks of data, subsets and registered transforms and data sets."""

from .corruption import Corrupt
from .imagenet_p import ImageNetP
from .inaturalist import INaturalist

__all__ = ['Corrupt', 'INaturalist', 'ImageNetP']
