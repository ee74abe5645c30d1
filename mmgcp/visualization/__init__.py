"""Pictures of predictions, of training samples and of what an encoder sees."""

from .files import read_image, save_image
from .predictor import Predictor

__all__ = ['Predictor', 'read_image', 'save_image']
