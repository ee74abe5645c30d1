"""The weight initializer that keeps the pooling head of a classifier."""

from mmengine.logging import print_log
from torch import nn

from ..registry import WEIGHT_INITIALIZERS
from .errors import CheckpointError
from .files import check_sha256, local_file
from .pretrained_encoder import PretrainedEncoder
from .reading import model_tensors, read_checkpoint
from .trained_model import fill

_PREFIX = 'neck.'


@WEIGHT_INITIALIZERS.register_module()
class PretrainedNeck(PretrainedEncoder):
    """Load the pooling head of a classifier into a neck, completely or not at all.

    Beside :class:`PretrainedEncoder` of the same file it transfers a classifier with its
    pooling head: the reduction to fewer channels goes on where it ended, and only the
    classifier behind it is new, which the log says.

    Args:
        checkpoint: As of :class:`PretrainedEncoder`, of a whole classifier; a published
            one is converted with ``tools/convert_checkpoint.py SRC DST --to classifier``.
        sha256: Digest of the file, or at least its first 8 digits.

    Raises:
        CheckpointError: The file cannot be read, its digest is another, or it has no
            pooling head, or one of other names or shapes.

    `iSQRT-COV <https://arxiv.org/abs/1712.01034>`_ fine-tunes in this way.
    """

    def __init__(self, checkpoint: str, sha256: str | None = None) -> None:
        super().__init__(checkpoint, sha256)

    def __call__(self, module: nn.Module) -> None:
        path = local_file(self.checkpoint, self.sha256)
        digest = check_sha256(path, self.sha256)
        tensors = model_tensors(read_checkpoint(path), str(path))
        neck = {n.removeprefix(_PREFIX): n for n in tensors if n.startswith(_PREFIX)}
        if not neck:
            raise CheckpointError(
                f'{path} has no pooling head (no tensor {_PREFIX}*). Give a whole '
                'classifier: tools/convert_checkpoint.py SRC DST --to classifier'
            )
        target = f'the neck {type(module).__name__}'
        hint = 'Give the neck the arguments that the classifier was trained with'
        own = {name: tensors[whole] for name, whole in neck.items()}
        fill(module, own, str(path), target, hint)
        self._keep(module)
        left = sorted(n for n in tensors if not n.startswith((_PREFIX, 'backbone.')))
        print_log(
            f'Pooling head kept from {self.checkpoint} (sha256 {digest}): {len(own)} '
            f'tensors of {target}. The classifier is new: {", ".join(left)} of the '
            'file are not read',
            logger='current',
        )
