"""Components of variance where they are known, and what is said about them."""

import numpy as np
import pytest
import torch

from mmgcp.analysis.curvature import local_shape
from mmgcp.analysis.hessian import SampleLoss
from mmgcp.analysis.variance import arms_of, check_seeds, components, lines_of
from mmgcp.utils.errors import UserError
from mmgcp.utils.run_specs import RunSpec

from .quadratic import Quadratic, batches

pytestmark = pytest.mark.once


def simulated(rng, seeds, samples, between=(2.0, 1.0, 0.5), mean=10.0):
    seed, image, rest = between
    values = mean + rng.normal(0, seed, (seeds, 1)) + rng.normal(0, image, samples)
    return values + rng.normal(0, rest, (seeds, samples))


def test_components_are_those_of_the_simulation():
    rng = np.random.default_rng(0)
    found = [components(simulated(rng, 6, 8)) for _ in range(2000)]
    for key, true in (('between_seeds', 4), ('between_images', 1), ('rest', 0.25)):
        assert np.mean([each[key] for each in found]) == pytest.approx(true, rel=0.05)
    true = 4 / 6 + 1 / 8 + 0.25 / 48
    spread = np.var([each['mean'] for each in found])
    assert spread == pytest.approx(true, rel=0.1)
    error = np.mean([each['standard_error'] ** 2 for each in found])
    assert error == pytest.approx(true, rel=0.05)


def test_components_by_hand():
    found = components([[1, 2], [3, 6]])
    # Means 1.5 and 4.5 of seeds, 2 and 4 of images, squared deviations 4 * 0.25.
    assert (found['mean'], found['rest']) == (3, 1)
    assert found['between_seeds'] == pytest.approx(4.5 - 1 / 2)
    assert found['between_images'] == pytest.approx(2 - 1 / 2)
    assert found['standard_error'] == pytest.approx((4 / 2 + 1.5 / 2 + 1 / 4) ** 0.5)
    assert found['from_seeds'] == pytest.approx((4.5 / 2) ** 0.5)
    assert found['from_images'] == pytest.approx(1)


def arms(one, two):
    rows = [
        {'label': label, 'measures': {'trace': values}}
        for label, cells in (('gap', one), ('isqrt', two))
        for values in cells
    ]
    return arms_of(rows, seeds=True)


def test_agreement_is_said_only_of_the_whole_error():
    rng = np.random.default_rng(1)
    one, two = simulated(rng, 4, 3), simulated(rng, 4, 3)
    found = arms(one, two)
    assert found[1]['difference']['trace'] == components(two - one)
    agree = 'they agree within two standard errors'
    assert lines_of(found)[-1].endswith(agree)
    assert 'from 4 seeds, ' in lines_of(found)[-1]
    assert 'differ by more than two' in lines_of(arms(one, two + 100))[-1]
    for part, missing in ((np.s_[:1], 'seeds'), (np.s_[:, :1], 'images')):
        line = lines_of(arms(one[part], two[part]))[-1]
        assert line.endswith(f'error from the {missing} unknown)')
    assert lines_of(arms(one[:1, :1], two[:1, :1])) == []
    # A model without a Hessian has neither value nor difference.
    lines = lines_of(arms(one, two * np.nan))
    assert [line.partition(':')[0] for line in lines] == ['gap']
    assert lines_of(arms(one * np.nan, two))[0].startswith('isqrt: trace ')
    assert len(lines_of(arms(one * np.nan, two))) == 1


def test_every_label_needs_its_seeds():
    specs = [RunSpec('c', f'{name}.pth', name[0]) for name in ('a0', 'a1', 'b0')]
    check_seeds(specs, seeds=False)
    with pytest.raises(UserError, match='as many checkpoints.* a: 2, b: 1'):
        check_seeds(specs, seeds=True)


def test_curvature_of_quadratics_has_known_components():
    """Bowls ``s * H`` of seeds ``s``, on images of scale ``b``: a trace of 3 s b."""
    matrix, theta = torch.diag(torch.tensor([2.0, 1.0])), torch.tensor([3.0, 4.0])
    seeds, images = (1.0, 2.0, 3.0), (0.9, 1.1)
    shapes = [
        [
            local_shape(
                SampleLoss(Quadratic(s * matrix, theta), batches(b)), 0, 4, 4, [0.1]
            )
            for b in images
        ]
        for s in seeds
    ]
    expected = np.outer(seeds, images)
    found = {
        'trace': [[cell['trace']['trace'] for cell in row] for row in shapes],
        'largest': [
            [cell['hessian']['eigenvalues'][0] for cell in row] for row in shapes
        ],
    }
    np.testing.assert_allclose(found['trace'], 3 * expected, rtol=1e-5)
    np.testing.assert_allclose(found['largest'], 2 * expected, rtol=1e-5)
    trace = components(found['trace'])
    assert trace['mean'] == pytest.approx(6, rel=1e-5)
    # Row means 3, 6, 9.
    assert trace['from_seeds'] == pytest.approx(3**0.5, rel=1e-5)
