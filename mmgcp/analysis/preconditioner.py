"""How does a pooling head reshape the gradient that reaches the last convolution?

Covariance pooling has been read as a pre-conditioner (Q. Wang et al., CVPR 2020). For
each run the gradient of its own loss is taken at the last convolution of the encoder.
For a classifier, every pooling head of :data:`HEADS` is put on the same frozen features
as well, with linear classifiers fitted to them, so that the heads differ in nothing but
the pooling. The batches are cut into two halves, and each meets the classifier that was
fitted to the other half.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgcp.engine.distributed import gather
from mmgcp.engine.forward import model_loss, prepare
from mmgcp.layers import covariance, matrix_power, newton_schulz_sqrt, triangle
from mmgcp.models.necks.last_map import last_map
from mmgcp.utils.errors import UserError
from mmgcp.utils.random_state import seeded
from mmgcp.utils.run_specs import RunSpec

from .output import figure, name_ticks, write_result
from .sample import Batches, Settings, sampled_runs
from .spectrum import Moments, positions

#: Pooling heads by the words of the papers; each maps a covariance ``(B, r, r)``.
COVARIANCE_HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    'covariance': lambda matrix: matrix,
    'isqrt': newton_schulz_sqrt,
    'mpn': matrix_power,
}
HEADS = ('gap', *COVARIANCE_HEADS)
PENALTY = 1e-3  # of the squared weights of a classifier


def preconditioner(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    heads: Sequence[str] = HEADS,
    reduced_channels: int = 64,
) -> dict:
    """Measure every run; return and draw what ``preconditioner.json`` holds.

    The sample is 128 training images for a classifier, else 16. ``heads`` are compared
    on a classifier, with ``reduced_channels`` in front of a covariance.
    """
    rows = []
    for row, run, sample in sampled_runs(
        'preconditioner', specs, settings, (128, 16), shared=False, least=2
    ):
        used = ['gap', *heads] if run.framework == 'mmpretrain' else []
        row |= measure(run.model, sample, used, reduced_channels, settings.seed)
        rows.append(row)
    rows = gather(rows)
    return write_result({'analysis': 'preconditioner', 'runs': rows}, out, draw(rows))


def measure(
    model: nn.Module,
    sample: Batches,
    heads: Sequence[str],
    reduced_channels: int,
    seed: int,
) -> dict:
    """Gradients of the model's own loss and of the fitted heads."""
    if len(sample.batches) < 2:
        raise UserError('1 image cannot be cut into two halves: give more --images')
    model.eval().requires_grad_(True)
    name, conv = last_convolution(model)
    data = [prepare(model, batch) for batch in sample.batches]
    probes: dict[str, Probe] = {}
    if heads:
        labels = [
            torch.cat([image.gt_label for image in batch['data_samples']])
            for batch in data
        ]
        with torch.no_grad():
            maps = [encode(model, batch) for batch in data]
        basis = principal_basis(maps, reduced_channels)
        probes = {head: Probe(head, basis, maps, labels) for head in heads}
    gradients = {name: Gradients(conv) for name in ('own', *probes)}
    outputs: list[Tensor] = []
    handle = conv.register_forward_hook(lambda *call: outputs.append(call[-1]))
    for index, batch in enumerate(data):
        half, size = index % 2, sample.sizes[index]
        with seeded(seed):
            loss = model_loss(model, batch)
        gradients['own'].add(half, loss, outputs.pop(), size)
        if probes:
            features = encode(model, batch)
        for head, probe in probes.items():
            loss = probe.loss(features, labels[index], 1 - half)
            gradients[head].add(half, loss, outputs[-1], size)
        outputs.clear()
    handle.remove()
    gap = gradients.get('gap')
    rows = {
        head: {
            'norm': float(found.mean(0, 1).norm()),
            'output_gradient': found.outputs.describe(),
            'angle_between_halves': angle(found.mean(0), found.mean(1)),
            'angle_to_gap': angle(found.mean(0, 1), gap.mean(0, 1)) if gap else None,
            'fit': probes[head].fit if head in probes else None,
        }
        for head, found in gradients.items()
    }
    return {'convolution': name, 'heads': rows}


def encode(model: nn.Module, batch: dict) -> Tensor:
    """The last feature map ``(B, C, H, W)`` of a prepared batch."""
    return last_map('preconditioner', model.backbone(batch['inputs']))


def last_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the last convolution on the main path of the backbone."""
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        and name.startswith('backbone.')
        and 'downsample' not in name
    ]
    if not found:
        raise UserError(f'{type(model.backbone).__name__} has no convolution')
    return found[-1]


class Gradients:
    """Gradients of one loss at one convolution, for two halves of the sample."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.weight, self.images = conv.weight, [0, 0]
        self.sums = torch.zeros(2, *conv.weight.shape, dtype=torch.float64)
        self.outputs = Moments(conv.out_channels, centered=False)

    def add(self, half: int, loss: Tensor, output: Tensor, size: int) -> None:
        """Take in the mean loss of ``size`` images, and the convolution's output."""
        weight, point = torch.autograd.grad(
            loss, [self.weight, output], retain_graph=True
        )
        self.images[half] += size
        self.sums[half] += size * weight.double().cpu()
        # The loss is a mean over the batch; times B it is each image's own.
        self.outputs.add(positions(size * point))

    def mean(self, *halves: int) -> Tensor:
        """Gradient of the mean loss of these halves with respect to the weight."""
        return self.sums[list(halves)].sum(0) / sum(self.images[i] for i in halves)


def angle(x: Tensor, y: Tensor) -> float:
    """Angle between two tensors in degrees; NaN when one is zero."""
    norms = x.norm() * y.norm()
    if norms == 0:
        return math.nan
    cosine = ((x * y).sum() / norms).clamp(-1, 1)
    return math.degrees(math.acos(float(cosine)))


def principal_basis(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Leading principal directions of the channels, ``(C, r)``.

    They stand in for the learned reduction of a covariance head, whatever head the
    encoder was trained with.
    """
    moments = Moments(maps[0].shape[1])
    for features in maps:
        moments.add(positions(features))
    vectors = torch.linalg.eigh(moments.matrix())[1].flip(1)
    return vectors[:, :channels].to(maps[0])


def pool(head: str, features: Tensor, basis: Tensor) -> Tensor:
    """Pool a map ``(B, C, H, W)``, reduced by ``basis`` ``(C, r)`` for a covariance."""
    if head == 'gap':
        return features.flatten(2).mean(2)
    reduced = torch.einsum('bchw,cr->brhw', features, basis)
    return triangle(COVARIANCE_HEADS[head](covariance(reduced)))


class Probe:
    """A pooling head with two linear classifiers, each fitted to half of the batches.

    Multinomial logistic regression with an l2 penalty, by L-BFGS, with the encoder
    frozen. One scalar brings the vectors to unit scale; single entries are not
    standardized, which would be a pre-conditioner of its own. Of the batches in
    ``maps`` and ``labels`` every second one is the other half.
    """

    def __init__(
        self, head: str, basis: Tensor, maps: list[Tensor], labels: list[Tensor]
    ) -> None:
        self.head, self.basis = head, basis
        with torch.no_grad():
            vectors = [pool(head, features, basis) for features in maps]
        self.scale = float(torch.cat(vectors).square().mean().sqrt().clamp_min(1e-12))
        halves = [
            (torch.cat(vectors[half::2]) / self.scale, torch.cat(labels[half::2]))
            for half in (0, 1)
        ]
        classes = 1 + int(torch.cat(labels).max())
        self.classifiers = [_logistic_regression(*half, classes) for half in halves]
        self.fit = {
            'dimension': vectors[0].shape[1],
            'fitted_to': [len(half[1]) for half in halves],
            'loss': [float(self._loss(*halves[i], i)) for i in (0, 1)],
            'held_out_loss': [float(self._loss(*halves[i], 1 - i)) for i in (0, 1)],
        }

    def _loss(self, vectors: Tensor, labels: Tensor, which: int) -> Tensor:
        return F.cross_entropy(self.classifiers[which](vectors), labels)

    def loss(self, features: Tensor, labels: Tensor, which: int) -> Tensor:
        """Mean cross-entropy, by the classifier fitted to half 0 or 1."""
        vectors = pool(self.head, features, self.basis) / self.scale
        return self._loss(vectors, labels, which)


def _logistic_regression(vectors: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """Linear classifier fitted to ``(N, D)``."""
    linear = nn.Linear(vectors.shape[1], classes).to(vectors)
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(
        linear.parameters(), max_iter=60, line_search_fn='strong_wolfe'
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        fit = F.cross_entropy(linear(vectors), labels)
        loss = fit + PENALTY * linear.weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return linear


def draw(rows: Sequence[dict]):
    """Spectra, and bars of effective rank and angles, of the heads of each run."""
    # Runs may share a label.
    panels = [(row['label'], list(row['heads'].items())) for row in rows]
    if all(list(row['heads']) == ['own'] for row in rows):
        # No heads to compare within a run: the runs beside each other.
        panels = [('own loss', [(row['label'], row['heads']['own']) for row in rows])]
    fig, axes = figure(len(panels), 3)
    for column, (title, heads) in enumerate(panels):
        spectra, ranks, angles = axes[:, column]
        spectra.set(title=title, yscale='log', xlabel='index')
        for index, (head, entry) in enumerate(heads):
            values = torch.as_tensor(entry['output_gradient']['eigenvalues'])
            share = (values / values[0]).clamp_min(1e-12)
            spectra.plot(range(1, len(share) + 1), share, color=f'C{index}', label=head)
        spectra.legend(fontsize='x-small')
        names, place = [name for name, _ in heads], range(len(heads))
        heights = [entry['output_gradient']['effective_rank'] for _, entry in heads]
        ranks.bar(place, heights, color=[f'C{i}' for i in place])
        for key, marker in (('angle_to_gap', 'ko'), ('angle_between_halves', 'kx')):
            points = [math.nan if e[key] is None else e[key] for _, e in heads]
            angles.plot(place, points, marker, label=key.replace('_', ' '))
        angles.set_ylim(0, 180)
        angles.legend(fontsize='x-small', loc='lower left')
        name_ticks(ranks, names)
        name_ticks(angles, names)
    axes[0, 0].set_ylabel('output gradient: eigenvalue / largest')
    axes[1, 0].set_ylabel('effective rank')
    axes[2, 0].set_ylabel('degrees')
    return fig
