"""Encoders pre-trained with global covariance pooling, for OpenMMLab.

Nothing has to be imported by hand: ``type='mmgcp.GCPResNet'`` in a config of
mmpretrain, mmdet or mmseg is enough, because the registries find this package
by its scope (see :mod:`mmgcp.registry`).
"""

from .version import __version__

__all__ = ['__version__']
