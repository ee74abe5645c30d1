"""mmgcp.GlobalCovariancePooling against numpy and against its parts."""

import numpy as np
import pytest
import torch

from mmgcp.layers import CovarianceNormalization, covariance, triangle
from mmgcp.models.normalizations import NORMALIZATIONS
from mmgcp.registry import MODELS
from mmgcp.utils.errors import UserError


def neck(**kwargs):
    torch.manual_seed(1)
    cfg = dict(type='mmgcp.GlobalCovariancePooling', in_channels=12)
    return MODELS.build(dict(cfg, reduced_channels=6, **kwargs))


def reference(net, x, root):
    """The pooled vectors, step by step in numpy."""
    features = net.reduction(x).detach().double().flatten(2).cpu().numpy()
    rows, columns = np.triu_indices(6)
    vectors = []
    for sample in features:
        deviation = sample - sample.mean(axis=1, keepdims=True)
        matrix = deviation @ deviation.T / sample.shape[1]
        if root:
            values, vectors_ = np.linalg.eigh(matrix)
            matrix = (vectors_ * np.sqrt(values.clip(0))) @ vectors_.T
        vectors.append(matrix[rows, columns])
    return np.stack(vectors)


@pytest.mark.parametrize('size', [(5, 7), (2, 2)])
@pytest.mark.parametrize(
    ('normalization', 'root'),
    [(None, False), (dict(type='MatrixPower', alpha=0.5), True)],
)
def test_against_numpy(normalization, root, size):
    net = neck(normalization=normalization).double().eval()
    x = torch.randn(3, 12, *size, dtype=torch.float64)
    (vector,) = net((torch.zeros(3, 4, 9, 9), x))
    assert vector.shape == (3, net.out_channels)
    np.testing.assert_allclose(
        vector.detach().cpu().numpy(), reference(net, x, root), atol=1e-7
    )


@pytest.mark.parametrize('name', list(NORMALIZATIONS))
@pytest.mark.parametrize('size', [(4, 4), (1, 3)])
def test_every_normalization(name, size):
    net = neck(normalization=dict(type=name)).double()
    x = torch.randn(2, 12, *size, dtype=torch.float64)
    (vector,) = net.eval()((x,))
    expected = triangle(net.normalization(covariance(net.reduction(x))))
    torch.testing.assert_close(vector, expected, rtol=0, atol=1e-7)
    net.train()((x,))[0].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.reduction.conv.weight.grad.abs().sum() > 0


def test_dropcov_acts_in_training_only():
    net = neck(dropout=dict(type='DropCov')).double()
    plain = neck().double()
    plain.load_state_dict(net.state_dict(), strict=False)
    x = torch.randn(4, 12, 6, 6, dtype=torch.float64)
    assert torch.equal(net.eval()((x,))[0], plain.eval()((x,))[0])
    reduced = net.reduction(x).detach()
    net.train()
    torch.manual_seed(3)
    found = net.pool(reduced)
    torch.manual_seed(3)
    torch.testing.assert_close(found, triangle(covariance(net.dropout(reduced))))
    assert not torch.allclose(found, plain.pool(reduced))


def test_drop_rate_is_of_the_entries_of_the_vector():
    net = neck(drop_rate=0.5).train()
    (vector,) = net((torch.randn(8, 12, 6, 6),))
    dropped = (vector == 0).float().mean()
    # 168 independent draws of rate 0.5: four standard deviations.
    assert abs(dropped - 0.5) < 4 * 0.5 / 168**0.5
    # A dropped channel would zero whole rows of the matrix in each sample.
    assert (vector != 0).any(0).all()


class Halved(CovarianceNormalization):
    """A user's own normalization."""

    def forward(self, matrix):
        return matrix / 2


def test_a_normalization_of_ones_own():
    x = torch.randn(2, 12, 4, 4)
    own = neck(normalization=dict(type=Halved)).eval()
    torch.testing.assert_close(own((x,))[0], neck().eval()((x,))[0] / 2)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(normalization=dict(type='NewtonSchultz')), 'NewtonSchulz, MatrixPower'),
        (dict(normalization=dict(type='DropCov')), 'CovarianceNormalization'),
        (dict(dropout=dict(type='ChannelDrop')), "Use 'DropCov' or None"),
    ],
)
def test_wrong_arguments_tell_the_way_out(arguments, message):
    with pytest.raises(ValueError, match=message) as info:
        neck(**arguments)
    assert isinstance(info.value, UserError)


def test_other_maps_than_configured():
    with pytest.raises(ValueError, match=r'set neck\.in_channels=5'):
        neck()((torch.zeros(1, 5, 4, 4),))


def test_the_old_name_of_dropcov():
    with pytest.warns(FutureWarning, match="'DropCov'"):
        net = neck(dropout=dict(type='AdaptiveChannelDropout', max_rate=0.5))
    assert net.dropout.max_rate == 0.5
