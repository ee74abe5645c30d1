"""Names and shapes of what follows the encoder in a classifier or a detector."""

from collections.abc import Mapping

from .errors import CheckpointError
from .specs import Architecture, Shape, norm_shapes, size_of

# (heads, channels per head) of the published cross-covariance poolings
TOKEN_HEADS = ((6, 14), (6, 24), (12, 24), (8, 38))


def _reduction_and_fc(shapes: Mapping[str, Shape], channels: int) -> dict[str, Shape]:
    classes = size_of(shapes, 'head.fc.weight')
    expected: dict[str, Shape] = {}
    inputs = channels
    if any(name.startswith('neck.reduction.') for name in shapes):
        reduced = size_of(shapes, 'neck.reduction.conv.weight')
        expected['neck.reduction.conv.weight'] = (reduced, channels, 1, 1)
        expected |= norm_shapes('neck.reduction.bn', reduced)
        if 'neck.dropout.importance.weight' in shapes:
            expected['neck.dropout.importance.weight'] = (1, 1, 3)
        inputs = reduced * (reduced + 1) // 2
        # a trained normalisation has parameters of its own
        expected |= {
            name: shape
            for name, shape in shapes.items()
            if name.startswith('neck.normalization.')
        }
    expected['head.fc.weight'] = (classes, inputs)
    expected['head.fc.bias'] = (classes,)
    return expected


def token_heads(pooled: int, rows: int, groups: tuple[int, ...]) -> tuple[int, int]:
    """Heads and channels per head of a cross-covariance pooling.

    Args:
        pooled: Length of the second-order vector, heads times channels squared.
        rows: Outputs of the projection, groups times heads times channels.
        groups: Possible numbers of groups: 2, or 3 with the one nothing reads.

    Raises:
        CheckpointError: No published pooling has these sizes.
    """
    for heads, dims in TOKEN_HEADS:
        if heads * dims**2 == pooled and rows in [g * heads * dims for g in groups]:
            return heads, dims
    raise CheckpointError(
        f'a projection to {rows} values and a vector of {pooled} fit no published '
        f'cross-covariance pooling (heads, channels): {TOKEN_HEADS}'
    )


def _token_fusion(shapes: Mapping[str, Shape], dim: int) -> dict[str, Shape]:
    classes = size_of(shapes, 'head.cls_fc.weight')
    pooled = size_of(shapes, 'head.visual_fc.weight', 1)
    rows = size_of(shapes, 'neck.wr.weight')
    heads, dims = token_heads(pooled, rows, groups=(2,))
    expected: dict[str, Shape] = {
        'neck.wr.weight': (2 * heads * dims, dim),
        'head.cls_fc.weight': (classes, dim),
        'head.cls_fc.bias': (classes,),
        'head.visual_fc.weight': (classes, heads * dims**2),
        'head.visual_fc.bias': (classes,),
    }
    if 'neck.normalization.start' in shapes:
        expected['neck.normalization.start'] = (dims,)
    return expected


def _two_stage(shapes: Mapping[str, Shape], channels: int) -> dict[str, Shape]:
    """FPN, RPN, box head and, where there is one, mask head of mmdet."""
    width = size_of(shapes, 'neck.lateral_convs.0.conv.weight')
    anchors = size_of(shapes, 'rpn_head.rpn_cls.weight')
    hidden = size_of(shapes, 'roi_head.bbox_head.shared_fcs.0.weight')
    classes = size_of(shapes, 'roi_head.bbox_head.fc_cls.weight') - 1
    boxes = size_of(shapes, 'roi_head.bbox_head.fc_reg.weight')
    weights = {
        'rpn_head.rpn_conv': (width, width, 3, 3),
        'rpn_head.rpn_cls': (anchors, width, 1, 1),
        'rpn_head.rpn_reg': (4 * anchors, width, 1, 1),
        'roi_head.bbox_head.shared_fcs.0': (hidden, width * 7 * 7),
        'roi_head.bbox_head.shared_fcs.1': (hidden, hidden),
        'roi_head.bbox_head.fc_cls': (classes + 1, hidden),
        'roi_head.bbox_head.fc_reg': (4 if boxes == 4 else 4 * classes, hidden),
    }
    for level in range(4):
        inner = channels // 2 ** (3 - level)
        weights[f'neck.lateral_convs.{level}.conv'] = (width, inner, 1, 1)
        weights[f'neck.fpn_convs.{level}.conv'] = (width, width, 3, 3)
    if any(name.startswith('roi_head.mask_head.') for name in shapes):
        mask = size_of(shapes, 'roi_head.mask_head.convs.0.conv.weight')
        masks = size_of(shapes, 'roi_head.mask_head.conv_logits.weight')
        for i in range(4):
            inner = width if i == 0 else mask
            weights[f'roi_head.mask_head.convs.{i}.conv'] = (mask, inner, 3, 3)
        weights['roi_head.mask_head.upsample'] = (mask, mask, 2, 2)
        logits = (1 if masks == 1 else classes, mask, 1, 1)
        weights['roi_head.mask_head.conv_logits'] = logits
    expected: dict[str, Shape] = {}
    for name, shape in weights.items():
        expected[f'{name}.weight'] = shape
        expected[f'{name}.bias'] = shape[:1]
    return expected


def rest_shapes(
    shapes: Mapping[str, Shape], architecture: Architecture, to: str
) -> dict[str, Shape]:
    """Names and shapes of what follows the encoder in a whole model.

    Args:
        shapes: All tensors of the model.
        architecture: The encoder.
        to: ``'classifier'`` or ``'detector'``.

    Raises:
        CheckpointError: The tensor that a size is read from is missing.
    """
    if to == 'detector':
        return _two_stage(shapes, architecture.out_channels)
    if 'head.cls_fc.weight' in shapes or 'neck.wr.weight' in shapes:
        return _token_fusion(shapes, architecture.out_channels)
    return _reduction_and_fc(shapes, architecture.out_channels)
