"""Tiny forms of every encoder for the contract they share."""

import math

ENCODERS = {
    **{
        f'resnet-{last_stage}': dict(
            type='mmgcp.GCPResNet',
            depth=18,
            last_stage=last_stage,
            base_channels=4,
            stem_channels=4,
            out_indices=(0, 1, 2, 3),
        )
        for last_stage in ('stride', 'maxpool', 'native')
    },
    'mobilenet': dict(
        type='mmgcp.GCPMobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 6, 7)
    ),
    'shufflenet': dict(
        type='mmgcp.GCPShuffleNetV2',
        widen_factor=0.5,
        out_indices=(0, 1, 2, 3),
        with_stem=True,
    ),
    'sovit': dict(
        type='mmgcp.SoViT',
        arch=dict(embed_dims=16, num_layers=4, num_heads=2, mlp_ratio=2),
        img_size=64,
        out_type='featmap',
    ),
}
#: Most of each that ``frozen_stages`` can freeze, and what it never does.
FREEZABLE = {
    'resnet': (4, ()),
    'mobilenet': (7, ('conv2.',)),
    'shufflenet': (3, ('layers.3.',)),
    'sovit': (4, ('norm.',)),
}


def family(name):
    return name.partition('-')[0]


def expected_size(name, size, stride):
    """Height and width of a level for images of ``size``."""
    if family(name) == 'sovit':
        # Padded to whole tokens first.
        return tuple(math.ceil(math.ceil(s / 16) * 16 / stride) for s in size)
    return tuple(math.ceil(s / stride) for s in size)
