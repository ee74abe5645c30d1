"""How does the encoder spread information over its channels?

The covariance of the channels over all positions of a fixed sample of images, stage by
stage (and per pyramid level of a detector or segmentor): its spectrum, its effective
rank, and how correlated channels are. How well a representation is preserved is measured
between runs, by linear CKA of the per-image mean features against the first run, and in
a covariance pooling head between the covariance and its normalized form.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor, nn
from torch.nn import functional as F

from mmgcp.engine.distributed import gather, sum_over_processes
from mmgcp.engine.forward import prepare, recorded_feature_maps
from mmgcp.layers import covariance
from mmgcp.models.necks.global_covariance_pooling import GlobalCovariancePooling
from mmgcp.models.necks.last_map import last_map
from mmgcp.utils.run_specs import RunSpec

from .output import figure, name_ticks, write_result
from .sample import Settings, sampled_runs


def spectrum(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(split='test'),  # noqa: B008
) -> dict:
    """Measure every run; return and draw what ``spectrum.json`` holds.

    Args:
        specs: The runs; the first is the reference of CKA.
        settings: Sample and device; 256 test images for a classifier, else 32.
    """
    rows, means = [], []
    for row, run, sample in sampled_runs('spectrum', specs, settings, (256, 32)):
        measured, mean = measure(run.model, sample.batches)
        rows.append(row)
        row |= measured
        means.append(mean)
    for row, mean in zip(rows, means, strict=True):
        row['preserved'] = preserved(rows[0]['label'], means[0], mean)
    return write_result({'analysis': 'spectrum', 'runs': rows}, out, draw(rows))


class Moments:
    """Mean and covariance of vectors that arrive in pieces, in double precision.

    ``size`` is their length. Without ``centered`` it is the raw second moment.
    """

    def __init__(self, size: int, centered: bool = True) -> None:
        self.centered = centered
        self.count = torch.zeros(1, dtype=torch.float64)
        self.sum = torch.zeros(size, dtype=torch.float64)
        self.product = torch.zeros(size, size, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Take in ``(N, size)`` vectors."""
        vectors = vectors.detach().double()
        self.count += len(vectors)
        self.sum += vectors.sum(0).cpu()
        self.product += (vectors.T @ vectors).cpu()

    def merge_processes(self) -> None:
        """Make it the moments of what all processes took in."""
        self.count = sum_over_processes(self.count)
        self.sum = sum_over_processes(self.sum)
        self.product = sum_over_processes(self.product)

    def matrix(self) -> Tensor:
        """Covariance (or second moment) ``(size, size)`` of one vector or more."""
        matrix = self.product / self.count
        if self.centered:
            mean = self.sum / self.count
            matrix = matrix - torch.outer(mean, mean)
        return matrix

    def describe(self) -> dict:
        """Eigenvalues of :meth:`matrix`, largest first, and their summary."""
        values = torch.linalg.eigvalsh(self.matrix()).flip(0).clamp_min(0).numpy()
        return {**summarize(values), 'eigenvalues': values}


def positions(features: Tensor) -> Tensor:
    """Rows of channels: ``(B, C, H, W)`` or ``(B, N, C)`` -> ``(B*N, C)``."""
    if features.dim() == 4:
        return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    return features.reshape(-1, features.shape[-1])


def summarize(eigenvalues: np.ndarray, tolerance: float = 1e-7) -> dict:
    """Describe the eigenvalues of a spectrum, which are not negative, largest first.

    ``effective_rank`` is the exponential of the entropy of the normalized eigenvalues
    (O. Roy and M. Vetterli, EUSIPCO 2007), ``participation`` (sum)^2 / sum of squares,
    ``condition`` the largest over the smallest non-zero one. For it and for ``rank`` an
    eigenvalue below ``tolerance`` times the largest is zero.
    """
    total = float(eigenvalues.sum())
    if total <= 0:
        zero = dict.fromkeys(('effective_rank', 'participation', 'rank', 'trace'), 0.0)
        return {**zero, 'condition': math.nan}
    kept = eigenvalues[eigenvalues > tolerance * eigenvalues[0]]
    return {
        'effective_rank': float(np.exp(entropy(eigenvalues))),
        'participation': float(total**2 / (eigenvalues**2).sum()),
        'rank': len(kept),
        'condition': float(kept[0] / kept[-1]),
        'trace': total,
    }


@torch.no_grad()
def measure(model: nn.Module, batches: Sequence) -> tuple[dict, dict]:
    """The row of one run, and its per-image mean features with the images' names."""
    neck: Any = getattr(model, 'neck', None)
    moments: dict[str, Moments] = {}
    means: dict[str, list] = {}
    names, pooled = [], []
    for batch in batches:
        data = prepare(model, batch)
        with recorded_feature_maps(model) as maps:
            features = model.backbone(data['inputs'])
            if neck is not None:
                neck(features)
        names.append([str(s.metainfo.get('img_path')) for s in data['data_samples']])
        for name, level in maps.items():
            vectors = positions(level)
            moments.setdefault(name, Moments(vectors.shape[1])).add(vectors)
            average = vectors.view(len(level), -1, vectors.shape[1]).mean(1)
            means.setdefault(name, []).append(average.cpu())
        if isinstance(neck, GlobalCovariancePooling):
            pooled += normalization_effect(neck, features)
    # A process without a batch still takes part in the sums.
    shapes = gather([{name: len(m.sum) for name, m in moments.items()}])
    sizes = {name: size for found in shapes for name, size in found.items()}
    stages = {}
    for name, size in sorted(sizes.items()):
        entry = moments.setdefault(name, Moments(size))
        entry.merge_processes()
        stages[name] = {
            'channels': size,
            'positions': int(entry.count),
            'mean_correlation': mean_correlation(entry.matrix()),
            **entry.describe(),
        }
    row: dict = {'stages': stages}
    effects = gather(pooled)
    if effects:
        row['pooling'] = {key: np.mean([e[key] for e in effects]) for key in effects[0]}
    gathered = {name: torch.cat(gather(means.get(name, []))) for name in sorted(sizes)}
    return row, {'names': sum(gather(names), []), 'features': gathered}


def mean_correlation(covariance: Tensor) -> float:
    """Mean absolute correlation of two different channels that vary."""
    scale = covariance.diagonal().clamp_min(0).sqrt()
    alive = scale > 1e-9 * scale.max()
    if int(alive.sum()) < 2:
        return math.nan
    scale = scale[alive]
    correlation = covariance[alive][:, alive] / torch.outer(scale, scale)
    others = len(scale) * (len(scale) - 1)
    return float(correlation.abs().fill_diagonal_(0).sum() / others)


def normalization_effect(
    neck: GlobalCovariancePooling, features: tuple[Tensor, ...]
) -> list[dict[str, float]]:
    """What a covariance pooling head's normalization changes, image by image.

    It is the effective ranks of both matrices (decorrelation) and their cosine
    (preservation).
    """
    x = last_map('GlobalCovariancePooling', features, neck.in_channels)
    before = covariance(neck.reduction(x).double())
    after = before if neck.normalization is None else neck.normalization(before)

    def rank(matrix: Tensor) -> float:
        return summarize(torch.linalg.svdvals(matrix).cpu().numpy())['effective_rank']

    return [
        {
            'effective_rank_covariance': rank(one),
            'effective_rank_pooled': rank(two),
            'cosine': float(F.cosine_similarity(one.flatten(), two.flatten(), 0)),
        }
        for one, two in zip(before, after, strict=True)
    ]


def preserved(label: str, reference: dict, other: dict) -> dict:
    """Linear CKA to the reference run, stage by stage, on the same images."""
    if reference['names'] != other['names']:
        return {'reference': label, 'reason': 'the runs saw different images'}
    mine, theirs = other['features'], reference['features']
    cka = {n: linear_cka(theirs[n], mine[n]) for n in mine if n in theirs}
    return {'reference': label, 'cka': cka}


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Similarity of two representations of the same ``N`` images.

    Linear centered kernel alignment of S. Kornblith et al., "Similarity of Neural
    Network Representations Revisited" (ICML 2019): 1 for equality up to rotation and
    scale, 0 for nothing in common. Shapes are ``(N, P)`` and ``(N, Q)``.
    """
    x, y = (t.double() - t.double().mean(0) for t in (x, y))
    cross = (x.T @ y).square().sum()
    norms = (x.T @ x).norm() * (y.T @ y).norm()
    return float(cross / norms) if norms > 0 else math.nan


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
        stages, style = row['stages'], {'color': f'C{index}', 'label': row['label']}
        encoder = [name for name in stages if not name.startswith('pyramid')]
        last = max(encoder, key=lambda name: (len(name), name))
        values = np.asarray(stages[last]['eigenvalues'])
        share = values / max(values.sum(), 1e-30)
        first.plot(range(1, len(share) + 1), np.maximum(share, 1e-12), **style)
        for axis, numbers in (
            (rank, {n: s['effective_rank'] / s['channels'] for n, s in stages.items()}),
            (correlation, {n: s['mean_correlation'] for n, s in stages.items()}),
            (cka, row['preserved'].get('cka', {})),
        ):
            here = [name for name in names if name in numbers]
            x = [names.index(name) for name in here]
            axis.plot(x, [numbers[name] for name in here], 'o-', **style)
    for axis in (rank, correlation, cka):
        name_ticks(axis, names)
    first.legend(fontsize='small')
    return fig
