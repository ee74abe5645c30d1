"""The weight initializer that fills an encoder completely or raises."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info
from torch import nn

from ..registry import WEIGHT_INITIALIZERS
from ..utils.config import ConfigError
from .deep_stem import fitting_names
from .files import check_sha256, local_file
from .metadata import declared_input, declared_settings, input_text
from .reading import encoder_tensors, read_checkpoint
from .trained_model import fill

_CONVERT = (
    'If this is a checkpoint in a published layout, convert it first: '
    'tools/convert_checkpoint.py SRC DST --to encoder. Tensors that the file may lack '
    'go into allow_missing'
)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedEncoder:
    """Load an encoder file into a backbone; anything not filled is an error.

    mmengine's ``Pretrained`` leaves a backbone random, with one line in the log,
    when the names or shapes in the file are not its own. This one raises. It also
    keeps the framework from initializing the loaded values again, logs what the
    encoder was trained on, and leaves that as ``encoder_meta`` at the backbone.

    Args:
        checkpoint: Path, ``file://`` or http(s) address, or ``hf-hub:OWNER/NAME``, of
            a file written by ``tools/convert_checkpoint.py`` or of a model of
            mmpretrain, of which the part under ``backbone.`` is taken;
            ``mmgcp.TimmEncoder`` and ``mmgcp.HuggingFaceEncoder`` take files of their
            libraries. Downloads are cached in ``$MMGCP_CACHE``, by default in the
            folder of ``torch.hub``, and those of the hub in its own cache.
        sha256: Digest of the file, or at least its first 8 digits.
        allow_missing: Names of tensors, or patterns with ``*``, that may stay as the
            constructor made them.

    Note:
        ``SwinTransformer`` and ``PyramidVisionTransformer`` of mmdet and
        ``SwinTransformer`` of mmseg load by themselves and never ask an initializer:
        use ``mmpretrain.SwinTransformer`` there.

    Raises:
        CheckpointError: The file cannot be read, its digest is another, or names,
            shapes or values are not those of an encoder file.
        ConfigError: Another initializer would overwrite what is loaded.
    """

    def __init__(
        self,
        checkpoint: str,
        sha256: str | None = None,
        allow_missing: Sequence[str] = (),
    ) -> None:
        self.checkpoint = str(checkpoint)
        self.sha256 = sha256
        # a string would be a list of patterns of one letter
        patterns = [allow_missing] if isinstance(allow_missing, str) else allow_missing
        self.allow_missing = tuple(patterns)

    def __call__(self, module: nn.Module) -> None:
        path = local_file(self.checkpoint, self.sha256)
        digest = check_sha256(path, self.sha256)
        content = read_checkpoint(path)
        own = module.state_dict()
        tensors = fitting_names(encoder_tensors(content, str(path)), module)
        shared = own.keys() & tensors.keys()
        kept = {
            name: tensor
            for name, tensor in own.items()
            if shared and any(fnmatchcase(name, p) for p in self.allow_missing)
        }
        fill(module, {**kept, **tensors}, str(path), type(module).__name__, _CONVERT)
        self._keep(module)
        meta = declared_settings(content)
        module.encoder_meta = meta  # type: ignore[assignment]
        anew = meta.get('recalibrated')
        print_log(
            f'Encoder loaded from {self.checkpoint} (sha256 {digest}): {len(shared)} '
            f'of {len(own)} tensors. Pre-trained with pooling head '
            f'{meta.get("pooling_head", "unknown")}, last stage '
            f'{meta.get("last_stage", "unknown")}, {input_text(declared_input(meta))}'
            + (f', batch norms estimated anew: {anew}' if anew else ''),
            logger='current',
        )
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedEncoder: {self.checkpoint}')

    def _keep(self, module: Any) -> None:
        """Keep the frameworks from initializing the loaded values again."""
        cfg = getattr(module, 'init_cfg', None)
        if isinstance(cfg, list | tuple) and len(cfg) > 1:
            own, kinds = type(self).__name__, [str(entry.get('type')) for entry in cfg]
            # mmengine runs its own Pretrained after everything else
            if own not in kinds[-1] or 'Pretrained' in kinds:
                raise ConfigError(
                    f'init_cfg: {own} has to be the last entry and without Pretrained, '
                    f'or they overwrite what it loads; found {kinds}'
                )
        for child in module.modules():
            if hasattr(child, 'init_weights'):
                child.is_init = True
        # Backbones that initialize more after BaseModule.init_weights (the zeroed
        # last norms of mmpretrain's ResNet, position embeddings) ask for this type.
        if cfg:
            module.init_cfg = dict(type='Pretrained', checkpoint=self.checkpoint)
