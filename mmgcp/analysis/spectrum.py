"""How the encoder spreads information over its channels.

The covariance of the channels over all positions of a fixed sample of images,
stage by stage (and per pyramid level of a detector or segmenter): its spectrum,
its effective rank, and how correlated channels are. Decorrelation shows as a
flat spectrum, a high effective rank and a low mean correlation.

How well a representation is preserved is measured where two of them meet:
between runs, by linear CKA of the per-image mean features against the first
run (an encoder before and after its transfer, say); in a covariance pooling
head, between the covariance and what its normalisation makes of it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgcp.engine.loss import prepare
from .moments import (
    Moments,
    linear_cka,
    mean_correlation,
    positions,
    summarise,
    symmetric_spectrum,
)
from mmgcp.utils.files import write_json
from .output import colour, figure, save_figure
from .position_labels import check_resized, position_labels
from mmgcp.engine.distributed import gather, is_main
from .runs import Run, RunSpec
from .sampled import sampled_runs
from .taps import feature_maps


def spectrum(
    specs: Sequence[RunSpec],
    out: str | Path,
    images: int | None = None,
    batch_size: int | None = None,
    split: str = 'test',
    per_class: bool = False,
    seed: int = 0,
    options: dict | None = None,
    device: str | None = None,
) -> dict:
    """Measure every run and compare them in one picture.

    With several processes the batches are split and the moments summed.

    Args:
        specs (Sequence[RunSpec]): The runs; the first is the reference of CKA.
        out (str | Path): Folder of ``spectrum.json`` and ``spectrum.png``.
        images (int, optional): Defaults to 256 for a classifier, 32 otherwise.
        batch_size (int, optional): Defaults to 32, and 4.
        split (str): Whose data loader the sample comes from.
        per_class (bool): Also a summary per class of the last stage.
        seed (int): Seed of the sample.
        options (dict, optional): Config overrides.
        device (str, optional): Where to run.

    Returns:
        dict: What ``spectrum.json`` holds.
    """
    rows, means = [], []
    for row, run, sample, _ in sampled_runs(
        'spectrum', specs, (256, 32), split, images, batch_size, seed, options, device
    ):
        measured, mean = measure(run, sample.batches, per_class, split)
        row |= measured
        rows.append(row)
        means.append(mean)
    for row, mean in zip(rows, means, strict=True):
        row['preserved'] = preserved(rows[0]['label'], means[0], mean)
    result = {'analysis': 'spectrum', 'runs': rows}
    if is_main():
        write_json(Path(out) / 'spectrum.json', result)
        save_figure(draw(rows), Path(out) / 'spectrum.png')
    return result


@torch.no_grad()
def measure(
    run: Run, batches: Sequence, per_class: bool, split: str
) -> tuple[dict, dict]:
    """Moments of one run over its batches.

    Returns:
        tuple: The row of the JSON, and the per-image mean features by stage
        with the names of the images.
    """
    model = run.model
    moments: dict[str, Moments] = {}
    classes: dict[int, Moments] = {}
    means: dict[str, list] = {}
    names, pooled = [], []
    for batch in batches:
        data = prepare(model, batch)
        inputs = data['inputs']
        maps = feature_maps(model, inputs)
        names.append([str(s.metainfo.get('img_path')) for s in data['data_samples']])
        for name, features in maps.items():
            vectors = positions(features)
            moments.setdefault(name, Moments(vectors.shape[1])).add(vectors)
            average = vectors.view(len(features), -1, vectors.shape[1]).mean(1)
            means.setdefault(name, []).append(average.cpu())
        pooled.append(normalisation_effect(model, inputs))
        last = maps[last_stage(maps)]
        if per_class and last.dim() == 4:
            if split != 'train':
                check_resized(data['data_samples'])
            labels = position_labels(
                data['data_samples'], last.shape[2:], inputs.shape[2:]
            ).reshape(-1)
            vectors = positions(last).cpu()
            for label in labels.unique().tolist():
                if label >= 0:
                    kept = vectors[labels == label]
                    classes.setdefault(label, Moments(kept.shape[1])).add(kept)
    # A process without a batch still takes part in the sums.
    shapes = gather([{name: len(m.sum) for name, m in moments.items()}])
    sizes = {name: size for found in shapes for name, size in found.items()}
    stages = {}
    for name, size in sorted(sizes.items()):
        entry = moments.setdefault(name, Moments(size))
        entry.merge_processes()
        stages[name] = describe(entry)
    row: dict = {'stages': stages}
    if per_class:
        row['classes'] = class_summaries(classes, sizes[last_stage(sizes)])
    effects = [effect for effect in gather(pooled) if effect is not None]
    if effects:
        row['pooling'] = {key: np.mean([e[key] for e in effects]) for key in effects[0]}
    gathered = {name: torch.cat(gather(means.get(name, []))) for name in sorted(sizes)}
    return row, {'names': sum(gather(names), []), 'features': gathered}


def last_stage(maps) -> str:
    """Name of the encoder's last map."""
    return max(name for name in maps if not name.startswith('pyramid'))


def describe(moments: Moments) -> dict:
    """Numbers and eigenvalues of one stage."""
    covariance = moments.matrix()
    eigenvalues = symmetric_spectrum(covariance)
    return {
        'channels': len(eigenvalues),
        'positions': int(moments.count),
        **summarise(eigenvalues),
        'mean_correlation': mean_correlation(covariance),
        'eigenvalues': eigenvalues,
    }


def class_summaries(classes: dict[int, Moments], size: int) -> dict:
    """Summary per class over all processes, without the eigenvalues."""
    present = sorted({label for found in gather([list(classes)]) for label in found})
    result = {}
    for label in present:
        entry = classes.setdefault(label, Moments(size))
        entry.merge_processes()
        summary = describe(entry)
        summary.pop('eigenvalues')
        result[label] = summary
    return result


def normalisation_effect(model: nn.Module, inputs: Tensor) -> dict | None:
    """What a covariance pooling head's normalisation changes, per image.

    Returns:
        dict: Means over the batch of ``effective_rank_covariance`` and
        ``effective_rank_pooled`` (decorrelation), and of ``cosine`` between both
        matrices (preservation); ``None`` for a model without such a head.
    """
    neck = getattr(model, 'neck', None)
    if neck is None or not hasattr(neck, 'reduction'):
        return None
    from mmgcp.layers import covariance

    reduced = neck.reduction(model.backbone(inputs)[-1])
    before = covariance(reduced.double())
    normalise = getattr(neck, 'normalization', None)
    after = before if normalise is None else normalise(before)
    if after.shape != before.shape:
        return None

    def rank(matrices: Tensor) -> float:
        spectra = torch.linalg.svdvals(matrices).cpu().numpy()
        return float(np.mean([summarise(s)['effective_rank'] for s in spectra]))

    cosine = F.cosine_similarity(before.flatten(1), after.flatten(1))
    return {
        'effective_rank_covariance': rank(before),
        'effective_rank_pooled': rank(after),
        'cosine': float(cosine.mean()),
    }


def preserved(label: str, reference: dict, other: dict) -> dict:
    """Linear CKA to the reference run, stage by stage, on the same images."""
    if reference['names'] != other['names']:
        return {'reference': label, 'reason': 'the runs saw different images'}
    shared = [name for name in other['features'] if name in reference['features']]
    return {
        'reference': label,
        'cka': {
            name: linear_cka(reference['features'][name], other['features'][name])
            for name in shared
        },
    }


def draw(rows: Sequence[dict]):
    """Last stage's spectra, and effective rank, correlation and CKA per stage."""
    fig, axes = figure(4)
    first, rank, correlation, cka = axes[0]
    first.set(title='spectrum of the last stage', yscale='log', xlabel='index')
    rank.set(title='effective rank / channels')
    correlation.set(title='mean absolute correlation')
    cka.set(title=f'CKA to {rows[0]["label"]}', ylim=(0, 1.05))
    names = list(dict.fromkeys(name for row in rows for name in row['stages']))
    # The encoder's stages come before the levels made of them.
    names.sort(key=lambda name: not name.startswith('stage'))
    for index, row in enumerate(rows):
        style = {'color': colour(index), 'label': row['label']}
        values = np.asarray(row['stages'][last_stage(row['stages'])]['eigenvalues'])
        if values[0] > 0:
            share = values / values.sum()
            first.plot(range(1, len(share) + 1), np.maximum(share, 1e-12), **style)
        here = [name for name in names if name in row['stages']]
        x = [names.index(name) for name in here]
        stages = [row['stages'][name] for name in here]
        rank.plot(
            x, [s['effective_rank'] / s['channels'] for s in stages], 'o-', **style
        )
        correlation.plot(x, [s['mean_correlation'] for s in stages], 'o-', **style)
        similar = row['preserved'].get('cka', {})
        there = [name for name in names if name in similar]
        x = [names.index(name) for name in there]
        cka.plot(x, [similar[name] for name in there], 'o-', **style)
    for axis in (rank, correlation, cka):
        axis.set_xticks(range(len(names)), names, rotation=45, ha='right')
    first.legend(fontsize='small')
    return fig
