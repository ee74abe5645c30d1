"""mmgcp.GlobalCovariancePooling against numpy, and inside a classifier."""

import numpy as np
import pytest
import torch

from mmgcp.models import GlobalCovariancePooling
from mmgcp.registry import MODELS


def neck(**kwargs):
    torch.manual_seed(1)
    cfg = dict(type='mmgcp.GlobalCovariancePooling', in_channels=12)
    return MODELS.build(dict(cfg, reduced_channels=6, **kwargs))


def reference(net, x, root):
    """The pooled vectors, step by step in numpy."""
    features = net.reduction(x).detach().double().flatten(2).numpy()
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
        vector.detach().numpy(), reference(net, x, root), atol=1e-7
    )


NORMALIZATIONS = [
    'NewtonSchulz',
    'MatrixPower',
    'MatrixLogarithm',
    'ElementwisePower',
    'ScaleNorm',
    'LayerNorm',
    'svPN',
]


@pytest.mark.parametrize('name', NORMALIZATIONS)
def test_every_normalization_trains(name):
    net = neck(normalization=dict(type=name)).train()
    (vector,) = net((torch.randn(2, 12, 4, 4),))
    assert vector.shape == (2, 21)
    vector.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.reduction.conv.weight.grad.abs().sum() > 0


def test_the_fused_path_is_the_plain_one():
    net = neck(normalization=dict(type='NewtonSchulz')).double().eval()
    x = torch.randn(2, 12, 3, 3, dtype=torch.float64)
    (fused,) = net((x,))
    from mmgcp.layers import covariance, newton_schulz_sqrt, triangle

    plain = triangle(newton_schulz_sqrt(covariance(net.reduction(x))))
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-12)


def test_keys_are_those_of_the_contract():
    net = neck(dropout=dict(type='AdaptiveChannelDropout', max_rate=0.9))
    assert set(net.state_dict()) == {
        'reduction.conv.weight',
        *(f'reduction.bn.{n}' for n in ('weight', 'bias', 'running_mean')),
        *(f'reduction.bn.{n}' for n in ('running_var', 'num_batches_tracked')),
        'dropout.importance.weight',
    }
    assert net.dropout.importance.weight.shape == (1, 1, 3)
    assert net.dropout.max_rate == 0.9


@pytest.mark.parametrize('kind', ['AdaptiveChannelDropout', 'ElementDropout'])
def test_dropout_acts_in_training_only(kind):
    net = neck(dropout=dict(type=kind))
    plain = neck()
    plain.load_state_dict(net.state_dict(), strict=False)
    # Features with opposite channels: low alignment, so that the rate is high.
    x = torch.randn(4, 12, 6, 6)
    assert torch.equal(net.eval()((x,))[0], plain.eval()((x,))[0])
    assert not torch.allclose(net.train()((x,))[0], plain.train()((x,))[0])


def test_element_dropout_acts_on_the_vector():
    net = neck(dropout=dict(type='ElementDropout', keep=0.5)).train()
    (vector,) = net((torch.randn(8, 12, 6, 6),))
    dropped = (vector == 0).float().mean()
    # 168 independent draws of rate 0.5: four standard deviations.
    assert abs(dropped - 0.5) < 4 * 0.5 / 168**0.5
    # A dropped channel would zero whole rows of the matrix in each sample.
    assert (vector != 0).any(0).all()


def test_wrong_use_tells_the_way_out():
    with pytest.raises(ValueError, match=r'set neck\.in_channels=5'):
        neck()((torch.zeros(1, 5, 4, 4),))
    with pytest.raises(KeyError, match='NewtonSchulz or MatrixPower'):
        neck(normalization=dict(type='NewtonSchultz'))
    with pytest.raises(KeyError, match='AdaptiveChannelDropout'):
        neck(dropout=dict(type='ChannelDrop'))


HEADS = dict(
    gap=(dict(type='GlobalAveragePooling'), 'stride', 32),
    isqrt=(
        dict(
            type='mmgcp.GlobalCovariancePooling',
            in_channels=32,
            reduced_channels=8,
            normalization=dict(type='NewtonSchulz', iterations=5),
        ),
        'native',
        36,
    ),
    dropcov=(
        dict(
            type='mmgcp.GlobalCovariancePooling',
            in_channels=32,
            reduced_channels=8,
            dropout=dict(type='AdaptiveChannelDropout'),
        ),
        'native',
        36,
    ),
)


@pytest.mark.parametrize('head', list(HEADS))
def test_a_classifier_trains(head, in_scope):
    pytest.importorskip('mmpretrain.models')
    from mmpretrain.registry import MODELS as MMPRETRAIN
    from mmpretrain.structures import DataSample

    pooling, last_stage, length = HEADS[head]
    backbone = dict(type='mmgcp.GCPResNet', depth=18, last_stage=last_stage)
    with in_scope('mmpretrain'):
        model = MMPRETRAIN.build(
            dict(
                type='ImageClassifier',
                backbone=dict(backbone, base_channels=4, stem_channels=4),
                neck=pooling,
                head=dict(type='LinearClsHead', num_classes=3, in_channels=length),
            )
        )
        model.init_weights()
        samples = [DataSample().set_gt_label(i) for i in (0, 2)]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        image = torch.randn(2, 3, 64, 64)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = model(image, samples, mode='loss')['loss']
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] != losses[0]
    assert model.head.fc.weight.grad.abs().sum() > 0


def test_registered():
    assert MODELS.get('mmgcp.GlobalCovariancePooling') is GlobalCovariancePooling
