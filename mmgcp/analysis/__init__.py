"""Measures of optimisation, representation and robustness.

Importing this package registers ``mmgcp.LandscapeHook`` and ``mmgcp.Corrupt``;
each analysis is a module of the name of its tool.
"""

from .corruption import Corrupt
from .landscape_hook import LandscapeHook

__all__ = ['Corrupt', 'LandscapeHook']
