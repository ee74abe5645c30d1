# The effect of post-normalization: powers of the covariance from 0.25 to 1 (1 is none),
# its logarithm, Newton-Schulz with 1 to 7 steps, and DropCov; then the normalizations of
# classifiers on manifolds (Chen et al., ICLR 2025). Pre-training on scenes.
title = 'Normalizations of the covariance, on scenes'
work_dir = 'work_dirs/studies/exponents'
baseline = 'none'
seeds = [0, 1, 2]
# Pre-training itself is the task; no end-point is primary.

_scenes = '{{$MMGCP_SCENES:data/scenes}}'
data = dict(
    command=['tools/make_scenes.py', _scenes, '--seed', '0'],
    result=_scenes + '/manifest.json',
)


def arm(label, normalization, dropout=None):
    return dict(
        label=label,
        pretrain='configs/pretrain/resnet18-w8-isqrt_scenes.py',
        overrides=dict(
            model=dict(
                neck=dict(
                    normalization=normalization
                    and dict(_delete_=True, **normalization),
                    dropout=dropout,
                )
            )
        ),
    )


encoders = {
    'none': arm('no normalization (power 1)', None),
    'power-0.75': arm('power 0.75', dict(type='MatrixPower', alpha=0.75)),
    'power-0.5': arm('power 0.5', dict(type='MatrixPower', alpha=0.5)),
    'power-0.25': arm('power 0.25', dict(type='MatrixPower', alpha=0.25)),
    'log': arm('logarithm', dict(type='MatrixLogarithm')),
    'isqrt-1': arm('iSQRT, 1 step', dict(type='NewtonSchulz', iterations=1)),
    'isqrt-3': arm('iSQRT, 3 steps', dict(type='NewtonSchulz', iterations=3)),
    'isqrt-5': arm('iSQRT, 5 steps', dict(type='NewtonSchulz', iterations=5)),
    'isqrt-7': arm('iSQRT, 7 steps', dict(type='NewtonSchulz', iterations=7)),
    'dropcov': arm('DropCov', None, dict(type='DropCov')),
    'scalepow-emlr': arm('ScalePow-EMLR', dict(type='ScalePowEMLR')),
    'pow-tmlr': arm('Pow-TMLR', dict(type='PowTMLR')),
    'chol-tmlr': arm('Chol-TMLR', dict(type='CholTMLR')),
}

# Test accuracy is that of pre-training; the difference to this is the gap.
tasks = dict(
    train=dict(
        label='on the training images',
        protocol='training-data',
        metrics={'accuracy/top1': 'top-1 (%)'},
    ),
)
analyses = ['spectrum', 'convergence']
pictures = 0
costs = False
