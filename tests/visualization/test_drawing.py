"""Sizes of drawn pictures."""

import numpy as np
import pytest

from mmgcp.visualization.drawing import enlarge


@pytest.mark.parametrize(
    ('size', 'most', 'expected'),
    [
        ((48, 48), None, (384, 384)),
        ((500, 400), None, (500, 400)),
        ((2, 900), None, (4, 1800)),  # not 384 x 172800
        ((2, 3000), None, (2, 3000)),
        ((500, 1000), 500, (250, 500)),
    ],
)
def test_small_pictures_are_enlarged_within_a_limit(size, most, expected):
    image = np.zeros((*size, 3), np.uint8)
    assert enlarge(image, most=most).shape[:2] == expected
