"""Batch-norm statistics of an encoder whose last stage got another form.

A last stage that was trained without its stride sees other inputs when it is strided or
pooled again. Its running statistics are then off, and detectors that freeze them
(``norm_eval=True``) train on the wrong ones.
"""

from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from mmgcp.engine.forward import prepare, stages_of
from mmgcp.utils.errors import UserError
from mmgcp.weights.files import save_atomically
from mmgcp.weights.reading import read_checkpoint

from .sample import BATCH_SIZES, load_encoder, sample_batches


def recalibrate_encoder(
    config: Config,
    source: str | Path,
    target: str | Path,
    images: int,
    seed: int = 0,
    hash_name: bool = False,
) -> tuple[Path, str, str]:
    """Estimate the statistics of the last stage anew and write a new encoder file.

    The weights and the statistics of the other stages stay. The metadata of the new
    file says how many images of which config were used, and how far the means moved
    on average.

    Args:
        config: Its backbone, in the form that will be used, and its training images.
        source: Encoder file, as ``tools/convert_checkpoint.py`` writes it.
        target: File to write.
        images: Number of training images.
        seed: Seed of their choice and augmentation.
        hash_name: See :func:`mmgcp.weights.files.save_atomically`.

    Returns:
        Path and sha256 of the new file, and what its metadata says.

    Raises:
        UserError: The last stage has no batch norms, or ``images`` is not positive.
    """
    run = load_encoder(config, source)
    backbone: nn.Module = run.model.backbone  # type: ignore[assignment]
    stage = list(stages_of(run.model).values())[-1]
    norms = [m for m in stage.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        raise UserError(
            f'{config.filename}: the last stage of {type(backbone).__name__} has no '
            'batch norm to estimate anew. Leave out --recalibrate'
        )
    before = [(norm.running_mean.clone(), norm.running_var.sqrt()) for norm in norms]
    size = BATCH_SIZES[run.framework != 'mmpretrain']
    sample = sample_batches(run, 'train', images, size, seed, shared=False)
    inputs: list[Tensor] = []
    handle = stage.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        for batch in sample.batches:
            backbone(prepare(run.model, batch)['inputs'])
        handle.remove()
        update_bn(inputs, stage)
    shifts = [
        (norm.running_mean - mean).abs() / std
        for norm, (mean, std) in zip(norms, before, strict=True)
    ]
    meta = dict(read_checkpoint(source).get('meta', {}))
    form = getattr(backbone, 'last_stage', None) or 'as configured'
    meta['recalibrated'] = (
        f'last stage {form}, {sample.total} images of {Path(config.filename).name}; '
        f'means moved by {torch.cat(shifts).mean():.2f} standard deviations'
    )
    tensors = {name: t.clone() for name, t in backbone.state_dict().items()}
    written = save_atomically({'state_dict': tensors, 'meta': meta}, target, hash_name)
    return *written, meta['recalibrated']
