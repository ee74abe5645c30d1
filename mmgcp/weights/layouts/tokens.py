"""Transformers of So-ViT and DropCov."""

from ..report import KeyReport
from ..specs_heads import token_heads
from .base import Layout, Rule, Tensors, any_match


def _cut_dead_group(tensors: Tensors, report: KeyReport) -> Tensors:
    """Leave out the third group of the projection, which DropCov's code never reads.

    Raises:
        CheckpointError: The sizes are of no published pooling.
    """
    projection = tensors.get('neck.wr.weight')
    classifier = tensors.get('head.visual_fc.weight')
    if projection is None or classifier is None or classifier.dim() != 2:
        return tensors
    heads, dims = token_heads(classifier.shape[1], len(projection), groups=(2, 3))
    used = 2 * heads * dims
    if len(projection) > used:
        tensors['neck.wr.weight'] = projection[:used]
        report.change('third group of wr, which nothing reads, cut', 'neck.wr.weight')
    return tensors


SO_VIT = Layout(
    name='so-vit',
    matches=lambda names: any_match(r'visual_tokens\.tokens\.', names),
    rules=(
        Rule(
            r'((?:cls_token|pos_embed|(?:visual_tokens|blocks|norm)\..+))',
            r'backbone.\1',
        ),
        Rule(r'classifier\.representation\.wr\.weight', 'neck.wr.weight'),
        Rule(r'classifier\.representation\.norm\.weight', 'neck.normalization.start'),
        Rule(r'classifier\.(cls_fc|visual_fc)\.(weight|bias)', r'head.\1.\2'),
    ),
    description='transformer of DropCov or So-ViT (convolutional token embedding)',
    finish=_cut_dead_group,
)

LAYOUTS = (SO_VIT,)
