"""The weight initialiser that fills an encoder completely or raises."""

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.model.weight_init import update_init_info
from torch import nn

from ..registry import WEIGHT_INITIALIZERS
from .errors import CheckpointError, KeyMismatchError, first_names
from .files import check_sha256, local_file, tensor_sha256, tensors_sha256
from .layouts.deep_stem import fit_stem
from .metadata import declared_settings
from .preprocessor import check_preprocessor, preprocessor_around
from .reading import read_checkpoint, tensors_of

_CONVERT = (
    'If this is a checkpoint in a published layout, convert it first: '
    'tools/convert_checkpoint.py SRC DST --to encoder'
)


def encoder_tensors(content, source: str) -> dict[str, torch.Tensor]:
    """Named tensors of the encoder in a file of ours or of mmpretrain.

    Accepts bare names, names under ``state_dict``, the prefix ``module.`` of
    ``DataParallel`` and, in whole models, the prefix ``backbone.``.

    Raises:
        CheckpointError: The file holds something else.
    """
    if isinstance(content, Mapping) and 'state_dict' in content:
        content = content['state_dict']
    try:
        tensors = tensors_of(content, source)
    except CheckpointError as error:
        raise CheckpointError(f'{error}. {_CONVERT}') from None
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): t for name, t in tensors.items()}
    if any(name.startswith('backbone.') for name in tensors):
        tensors = {
            name.removeprefix('backbone.'): tensor
            for name, tensor in tensors.items()
            if name.startswith('backbone.')
        }
    return tensors


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _as_loaded(module: nn.Module, tensors: Mapping) -> dict[str, torch.Tensor]:
    """The tensors as the module's own loading changes them.

    The transformers of mmpretrain resize position embeddings and bias tables of
    another image or window size while they load.
    """
    state = dict(tensors)
    for name, child in module.named_modules():
        prefix = f'{name}.' if name else ''
        for hook in child._load_state_dict_pre_hooks.values():
            hook(state, prefix, {}, True, [], [], [])
    for name, tensor in state.items():
        old = tensors.get(name)
        if old is not None and old.shape != tensor.shape:
            print_log(
                f'{name} resized from {tuple(old.shape)} to {tuple(tensor.shape)} by '
                f'{type(module).__name__}',
                logger='current',
            )
    return state


def _check_digests(tensors: Mapping, meta: Mapping[str, str], path: Path) -> None:
    if meta['sha256'] == tensors_sha256(tensors):
        return
    written = json.loads(meta.get('tensors_sha256', '{}'))
    changed = [
        name
        for name, digest in written.items()
        if name in tensors and tensor_sha256(tensors[name])[: len(digest)] != digest
    ]
    raise CheckpointError(
        f'{path}: tensors changed since the file was written, their sha256 differs '
        f'from its metadata ({first_names(changed) or "names"}): convert it again'
    )


@WEIGHT_INITIALIZERS.register_module()
class PretrainedEncoder:
    """Load an encoder file into a backbone; anything not filled is an error.

    mmengine's ``Pretrained`` leaves a backbone random, with one line in the log,
    when the names or shapes in the file are not its own. This one raises. It also
    keeps the framework from initialising the loaded values again, and warns when
    the model normalises its input otherwise than the encoder was trained with.

    Args:
        checkpoint (str): Path, ``file://`` or http(s) address of a file written by
            ``tools/convert_checkpoint.py`` or of a model of mmpretrain, of which
            the part under ``backbone.`` is taken. Downloads are cached in
            ``$MMGCP_CACHE``, by default in the folder of ``torch.hub``.
        sha256 (str, optional): Digest of the file, or at least its first 8 digits.
        allow_missing (Sequence[str]): Names of tensors, or patterns with ``*``,
            that may stay as the constructor made them. Defaults to none.
        allow_unexpected (Sequence[str]): Names or patterns in the file that the
            backbone need not have. Defaults to none.

    Note:
        ``SwinTransformer`` and ``PyramidVisionTransformer`` of mmdet and
        ``SwinTransformer`` of mmseg load by themselves and never ask an initialiser:
        use ``mmpretrain.SwinTransformer`` there.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file cannot be read, or its digest is another.
        KeyMismatchError: Names are missing or left over, or shapes differ.
    """

    def __init__(
        self,
        checkpoint: str,
        sha256: str | None = None,
        allow_missing: Sequence[str] = (),
        allow_unexpected: Sequence[str] = (),
    ) -> None:
        if not isinstance(checkpoint, str | Path) or not str(checkpoint):
            raise TypeError(
                f'PretrainedEncoder: checkpoint={checkpoint!r} is neither a path nor '
                'an address'
            )
        self.checkpoint = str(checkpoint)
        self.sha256 = sha256
        self.allow_missing = self._patterns('allow_missing', allow_missing)
        self.allow_unexpected = self._patterns('allow_unexpected', allow_unexpected)

    @staticmethod
    def _patterns(key: str, value: Sequence[str]) -> tuple[str, ...]:
        if isinstance(value, str):
            raise TypeError(f'PretrainedEncoder: {key}={value!r} has to be a list')
        return tuple(value)

    def __call__(self, module: nn.Module) -> None:
        path = local_file(self.checkpoint, self.sha256)
        if not path.exists():
            raise FileNotFoundError(
                f'PretrainedEncoder: checkpoint={self.checkpoint!r}: no such file'
            )
        digest = check_sha256(path, self.sha256)
        content = read_checkpoint(path)
        tensors = encoder_tensors(content, str(path))
        filled = self._fill(module, tensors, path)
        meta = declared_settings(content)
        if 'sha256' in meta:
            _check_digests(content.get('state_dict', {}), meta, path)
        self._protect(module)
        head = meta.get('pooling_head', 'unknown')
        print_log(
            f'Encoder loaded from {self.checkpoint} (sha256 {digest}): {filled} of '
            f'{len(module.state_dict())} tensors, pooling head in pre-training: {head}',
            logger='current',
        )
        preprocessor = preprocessor_around(module)
        if preprocessor is not None:
            check_preprocessor(preprocessor, meta)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedEncoder: {self.checkpoint}')

    def _fill(self, module: nn.Module, tensors: dict, path: Path) -> int:
        """Copy tensors into the module and return how many."""
        own = module.state_dict()
        tensors = _as_loaded(module, fit_stem(tensors, own))
        missing = [
            name
            for name in own
            if name not in tensors and not _matches(name, self.allow_missing)
        ]
        unexpected = [
            name
            for name in tensors
            if name not in own and not _matches(name, self.allow_unexpected)
        ]
        shapes = [
            f'{name} is {tuple(tensors[name].shape)} in the file and '
            f'{tuple(own[name].shape)} in the model'
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        ]
        problems = []
        if missing:
            problems.append(f'{len(missing)} missing: {first_names(missing)}')
        if shapes:
            problems.append(f'{len(shapes)} of another shape: {first_names(shapes)}')
        if unexpected:
            problems.append(f'{len(unexpected)} unexpected: {first_names(unexpected)}')
        if problems:
            raise KeyMismatchError(
                f'{path} does not fit {type(module).__name__}, which has {len(own)} '
                f'tensors. {"; ".join(problems)}. {_CONVERT}. Tensors that may be '
                'left out go into allow_missing, surplus ones into allow_unexpected.'
            )
        taken = {name: tensors[name] for name in own if name in tensors}
        if not taken:
            raise KeyMismatchError(f'{path} fills nothing in {type(module).__name__}')
        with torch.no_grad():
            module.load_state_dict(taken, strict=False)
        return len(taken)

    def _protect(self, module: BaseModule) -> None:
        """Keep the frameworks from initialising the loaded values again."""
        cfg = getattr(module, 'init_cfg', None)
        if isinstance(cfg, list | tuple) and len(cfg) > 1:
            kinds = [str(entry.get('type')) for entry in cfg]
            # mmengine runs its own Pretrained after everything else
            if not kinds[-1].endswith('PretrainedEncoder') or 'Pretrained' in kinds:
                raise ValueError(
                    'init_cfg: PretrainedEncoder has to be the last entry and without '
                    f'Pretrained, or they overwrite what it loads; found {kinds}'
                )
        for child in module.modules():
            if hasattr(child, 'init_weights'):
                child.is_init = True
        # Backbones that initialise more after BaseModule.init_weights (the zeroed
        # last norms of mmpretrain's ResNet, position embeddings) ask for this type.
        if cfg:
            module.init_cfg = dict(type='Pretrained', checkpoint=self.checkpoint)
