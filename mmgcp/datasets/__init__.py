"""The scenes data sets and their generator."""

from .scenes import ScenesSpec, check_scenes, make_scenes, make_scenes_with_progress

__all__ = [
    'ScenesSpec',
    'check_scenes',
    'make_scenes',
    'make_scenes_with_progress',
]
