"""Other ways to run an encoder compute the same features."""

import pytest
import torch
from mmengine.registry import init_default_scope

from benchmarks.encoders import INFERENCE_ONLY, WAYS
from mmgcp.registry import MODELS


def encoder():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(type='mmgcp.GCPResNet', depth=18, base_channels=16, last_stage='native')
    )
    for name, buffer in model.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 2)  # so that folding has something to fold
    return model


@pytest.mark.parametrize('way', [w for w in WAYS if w != 'compile'])
def test_features_are_those_of_the_plain_encoder(way):
    pytest.importorskip('mmpretrain')
    x = torch.randn(2, 3, 64, 64)
    plain, other = encoder(), encoder()
    plain.eval(), other.eval()
    other, y = WAYS[way](other, x)
    with torch.no_grad():
        [wanted], [got] = plain(x), other(y)
    assert type(got) is torch.Tensor
    got = got.to_dense() if got.is_mkldnn else got
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_folding_is_for_inference_only():
    assert {'fused', 'onednn'} == INFERENCE_ONLY
