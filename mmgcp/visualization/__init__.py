"""Pictures of predictions, of training samples and of what an encoder sees."""

from .drawing import draw_instances, draw_segments, enlarge, palette_of, side_by_side
from .files import read_image, save_image
from .predictor import Predictor

__all__ = [
    'Predictor',
    'draw_instances',
    'draw_segments',
    'enlarge',
    'palette_of',
    'read_image',
    'save_image',
    'side_by_side',
]
