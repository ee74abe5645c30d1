"""The dense necks alone and inside detectors and segmentors."""

from importlib import import_module

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from mmgcp.layers import covariance
from mmgcp.registry import MODELS

CHANNELS = [8, 16]


def levels(batch=2, dtype=torch.float32):
    torch.manual_seed(2)
    sizes = [(9, 7), (5, 4)]
    return tuple(
        torch.randn(batch, c, *size, dtype=dtype).relu()
        for c, size in zip(CHANNELS, sizes, strict=True)
    )


def build(kind, **kwargs):
    torch.manual_seed(1)
    net = MODELS.build(dict(type=f'mmgcp.{kind}', in_channels=CHANNELS, **kwargs))
    return net


@pytest.mark.parametrize('initialised', [False, True])
@pytest.mark.parametrize('normalization', [None, dict(type='NewtonSchulz')])
def test_attention_starts_as_the_identity(initialised, normalization):
    net = build('SecondOrderAttention', normalization=normalization)
    if initialised:
        net.init_weights()
    x = levels()
    for mode in (True, False):
        outs = net.train(mode)(x)
        assert all(torch.equal(a, b) for a, b in zip(outs, x, strict=True))


def test_attention_is_what_it_says():
    net = build('SecondOrderAttention', reduced_channels=4, norm_cfg=None).double()
    torch.nn.init.normal_(net.gates[1].weight.weight)
    x = levels(dtype=torch.float64)
    gate = net.gates[1]
    matrix = covariance(gate.reduction(x[1]))
    matrix = matrix / matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    weights = []
    for sample in matrix:
        rows = []
        for channel, row in enumerate(sample):
            for k in range(4):
                kernel = gate.rows.weight[4 * channel + k].flatten()
                rows.append((kernel @ row + gate.rows.bias[4 * channel + k]).relu())
        logits = gate.weight.weight[:, :, 0, 0] @ torch.stack(rows) + gate.weight.bias
        weights.append(2 * logits.sigmoid())
    expected = x[1] * torch.stack(weights)[..., None, None]
    torch.testing.assert_close(net(x)[1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('x', [levels(1), tuple(0 * x for x in levels())])
def test_attention_learns_on_one_image_and_on_dead_levels(x):
    net = build('SecondOrderAttention').train()
    x = tuple(level.clone().requires_grad_() for level in x)
    sum((out + 1).square().sum() for out in net(x)).backward()
    for tensor in (*net.parameters(), *x):
        assert torch.isfinite(tensor.grad).all()


def test_attention_leaves_the_identity_by_training():
    net = build('SecondOrderAttention').train()
    net.init_weights()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    x = levels()
    sum(out.square().mean() for out in net(x)).backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(net(x), x, strict=True))
    optimizer.zero_grad()
    sum(out.square().mean() for out in net(x)).backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize('kind', ['SecondOrderAttention', 'AdaptiveChannelDropout'])
def test_autocast(kind):
    net = build(kind).train()
    with torch.autocast('cpu', torch.bfloat16):
        outs = net(tuple(x.bfloat16() for x in levels()))
    assert all(out.dtype == torch.bfloat16 for out in outs)
    assert all(torch.isfinite(out).all() for out in outs)


def test_dropout_is_free_at_inference_and_acts_on_its_levels_in_training():
    x = levels(batch=64)
    # Importance goes to one channel that hardly varies: the cosine is near zero and
    # the rate at its limit.
    x[1][:, 3] = 50 + 0.01 * x[1][:, 3]
    net = build('AdaptiveChannelDropout', levels=(1,), max_rate=0.7)
    assert len(net.state_dict()) == 1
    outs = net.eval()(x)
    assert all(a is b for a, b in zip(outs, x, strict=True))
    net.drops[1].importance.weight.data = torch.tensor([[[0.0, 1.0, 0.0]]])
    low, high = net.train()(x)
    assert low is x[0]
    dropped = (high == 0).flatten(2).all(2) & (x[1] != 0).flatten(2).any(2)
    rate = net.drops[1].rate(x[1])
    assert rate == pytest.approx(0.7)
    number = dropped.numel()
    assert abs(dropped.float().mean() - rate) < 4 * (rate * (1 - rate) / number) ** 0.5


def test_wrong_use():
    for kind in ('SecondOrderAttention', 'AdaptiveChannelDropout'):
        with pytest.raises(ValueError, match=r'level 2, but in_channels lists 2'):
            build(kind, levels=(0, 2))
        with pytest.raises(ValueError, match=r'set in_channels=\[16, 8\]'):
            build(kind)(levels()[::-1])


BACKBONE = dict(
    type='mmgcp.GCPResNet',
    depth=18,
    last_stage='stride',
    base_channels=4,
    stem_channels=4,
    out_indices=(0, 1, 2, 3),
)
PYRAMID = [4, 8, 16, 32]
NECKS = {
    'attention': dict(type='mmgcp.SecondOrderAttention', in_channels=PYRAMID),
    'dropout': dict(type='mmgcp.AdaptiveChannelDropout', in_channels=PYRAMID),
}
FPN = dict(type='FPN', in_channels=PYRAMID, out_channels=8, num_outs=4)


def model(scope, **cfg):
    pytest.importorskip(f'{scope}.models')
    with DefaultScope.overwrite_default_scope(scope):
        torch.manual_seed(1)
        net = import_module(f'{scope}.registry').MODELS.build(ConfigDict(cfg))
        net.init_weights()
    return net


def same_features(chained, plain, prefix):
    """Load the plain model's weights into the chained one, compare features."""
    tensors = {
        prefix + k.removeprefix('neck.') if k.startswith('neck.') else k: v
        for k, v in plain.state_dict().items()
    }
    result = chained.load_state_dict(tensors, strict=False)
    assert not result.unexpected_keys
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        pairs = zip(
            chained.eval().extract_feat(image),
            plain.eval().extract_feat(image),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)


def backward(net, losses):
    total = sum(
        sum(v) if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k
    )
    total.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    # The identity passes gradients on to the gates that will leave it.
    gates = [p.grad for n, p in net.neck.named_parameters() if n.endswith('weight')]
    assert any(g is not None and g.abs().sum() > 0 for g in gates)


@pytest.mark.parametrize('name', list(NECKS))
def test_in_front_of_fpn_in_a_detector(name):
    pytest.importorskip('mmdet.models')
    from mmdet.testing import demo_mm_inputs

    def detector(neck):
        return model(
            'mmdet',
            type='SingleStageDetector',
            data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32),
            backbone=BACKBONE,
            neck=neck,
            bbox_head=dict(
                type='ATSSHead',
                num_classes=3,
                in_channels=8,
                feat_channels=8,
                stacked_convs=1,
                norm_cfg=dict(type='GN', num_groups=4),
                anchor_generator=dict(
                    type='AnchorGenerator',
                    ratios=[1.0],
                    octave_base_scale=8,
                    scales_per_octave=1,
                    strides=[4, 8, 16, 32],
                ),
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
                loss_bbox=dict(type='GIoULoss'),
            ),
            train_cfg=dict(
                assigner=dict(type='ATSSAssigner', topk=9),
                allowed_border=-1,
                pos_weight=-1,
            ),
            test_cfg=dict(nms_pre=10, score_thr=0.0, max_per_img=5),
        )

    net = detector([NECKS[name], FPN])
    same_features(net, detector(FPN), 'neck.1.')
    with DefaultScope.overwrite_default_scope('mmdet'):
        batch = demo_mm_inputs(2, [[3, 64, 64], [3, 64, 48]], num_classes=3)
        batch = net.data_preprocessor(batch, True)
        losses = net.train()(**batch, mode='loss')
    backward(net, losses)
    assert net.neck[1].lateral_convs[0].conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('name', list(NECKS))
@pytest.mark.parametrize('decoder', ['UPerHead', 'FPNHead'])
def test_in_front_of_a_decoder_in_a_segmentor(name, decoder):
    pytest.importorskip('mmseg.models')
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    norm_cfg = dict(type='BN')
    common = dict(channels=8, num_classes=3, norm_cfg=norm_cfg, align_corners=False)
    upernet = dict(in_channels=PYRAMID, in_index=[0, 1, 2, 3], **common)
    sem_fpn = dict(
        in_channels=[8] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        **common,
    )
    behind_fpn = decoder == 'FPNHead'

    def segmentor(neck):
        return model(
            'mmseg',
            type='EncoderDecoder',
            backbone=BACKBONE,
            neck=neck,
            decode_head=dict(type=decoder, **(sem_fpn if behind_fpn else upernet)),
            test_cfg=dict(mode='whole'),
        )

    net = segmentor([NECKS[name], FPN] if behind_fpn else NECKS[name])
    same_features(net, segmentor(FPN if behind_fpn else None), 'neck.1.')
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 64, 64))),
        metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64)),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        image = torch.randn(2, 3, 64, 64)
        losses = net.train()(image, [sample, sample], mode='loss')
        backward(net, losses)
        scores = net.eval()(image, [sample, sample], mode='predict')
    assert scores[0].pred_sem_seg.data.shape == (1, 64, 64)
