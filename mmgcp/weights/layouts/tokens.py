"""Transformers of So-ViT and DropCov."""

from ..architectures import token_heads
from .base import KeyReport, Layout, Tensors, any_match


def _cut_dead_group(tensors: Tensors, report: KeyReport) -> Tensors:
    """Leave out the third group of the projection, which DropCov's code never reads.

    Raises:
        CheckpointError: The sizes are those of no cross-covariance pooling.
    """
    projection = tensors.get('neck.wr.weight')
    classifier = tensors.get('head.visual_fc.weight')
    if projection is None or classifier is None or classifier.dim() != 2:
        return tensors
    heads, dims = token_heads(classifier.shape[1], len(projection))
    used = 2 * heads * dims
    if len(projection) > used:
        tensors['neck.wr.weight'] = projection[:used]
        reason = 'third group of wr, which nothing reads, cut'
        report.changed[reason].append('neck.wr.weight')
    return tensors


LAYOUTS = (
    Layout(
        name='so-vit',
        matches=lambda names: any_match(r'visual_tokens\.tokens\.', names),
        rules=(
            (
                r'((?:cls_token|pos_embed|(?:visual_tokens|blocks|norm)\..+))',
                r'backbone.\1',
            ),
            (r'classifier\.representation\.wr\.weight', 'neck.wr.weight'),
            (r'classifier\.representation\.norm\.weight', 'neck.normalization.start'),
            (r'classifier\.(cls_fc|visual_fc)\.(weight|bias)', r'head.\1.\2'),
        ),
        description='transformer of DropCov or So-ViT (convolutional token embedding)',
        finish=_cut_dead_group,
    ),
)
