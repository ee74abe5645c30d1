"""How a pooling head reshapes the gradient that reaches the last convolution.

Covariance pooling has been read as a pre-conditioner (Q. Wang et al., CVPR
2020): the trimmed back-propagation multiplies the gradient by something built
from the layer's output, where K-FAC uses its input and output gradient.

For each run the gradient of its own loss is taken at the last convolution of
the encoder. For a classifier, every pooling head of
:data:`~mmgcp.analysis.probes.HEADS` is put on the same frozen features as well,
with a linear classifier fitted to them, so that the heads differ in nothing but
the pooling; the GAP one also gives the K-FAC direction. Reported per head: the
spectrum, effective rank and condition number of the second moment of the output
gradient and of the per-image weight gradients, and the angles of the mean weight
gradient to the GAP one and to the K-FAC-preconditioned GAP one. A detector or
segmenter has no pooling head: it gets its own gradient's figures, and the angle
to its own K-FAC direction.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .gradient_moments import GradientMoments, angle
from mmgcp.engine.loss import fixed_proposals, model_loss, prepare
from mmgcp.utils.files import write_json
from .output import colour, figure, save_figure
from .probes import HEADS, Probe, principal_basis
from mmgcp.engine.distributed import gather, is_main
from mmgcp.utils.random_state import seeded
from .runs import Batches, RunSpec
from .sampled import sampled_runs


def last_convolution(model: nn.Module, name: str | None = None) -> tuple:
    """Last convolution on the main path of the backbone.

    Returns:
        tuple: Its name in the model and the module.

    Raises:
        ValueError: There is none, or the named module is not a convolution.
    """
    if name is not None:
        modules = dict(model.named_modules())
        if not isinstance(modules.get(name), nn.Conv2d):
            raise ValueError(f'{name!r} is not a convolution of the model')
        return name, modules[name]
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        and name.startswith('backbone.')
        and 'downsample' not in name
    ]
    if not found:
        raise ValueError('the backbone has no convolution: name one with --conv')
    return found[-1]


class _Tap:
    """Input and output of a module in its latest forward pass."""

    def __init__(self, module: nn.Module) -> None:
        self.handle = module.register_forward_hook(self._record)

    def _record(self, _module, inputs, output) -> None:
        self.inputs, self.output = inputs[0].detach(), output


def preconditioner(
    specs: Sequence[RunSpec],
    out: str | Path,
    images: int | None = None,
    batch_size: int | None = None,
    split: str = 'train',
    heads: Sequence[str] = HEADS,
    reduced_channels: int = 64,
    damping: float = 1e-2,
    conv: str | None = None,
    seed: int = 0,
    options: dict | None = None,
    device: str | None = None,
) -> dict:
    """Measure every run and compare them in one picture.

    With several processes the runs are split among them.

    Args:
        specs (Sequence[RunSpec]): The runs.
        out (str | Path): Folder of ``preconditioner.json`` and ``.png``.
        images (int, optional): Defaults to 128 for a classifier, 16 otherwise.
        batch_size (int, optional): Defaults to 32, and 4.
        split (str): Whose data loader the sample comes from.
        heads (Sequence[str]): Pooling heads to compare on a classifier.
        reduced_channels (int): Channels in front of a covariance.
        damping (float): See :func:`~mmgcp.analysis.gradient_moments.kfac_direction`.
        conv (str, optional): Another convolution than the encoder's last.
        seed (int): Seed of the sample.
        options (dict, optional): Config overrides.
        device (str, optional): Where to run.

    Returns:
        dict: What ``preconditioner.json`` holds.

    Raises:
        ValueError: An unknown head.
    """
    unknown = set(heads) - set(HEADS)
    if unknown:
        raise ValueError(f'heads {sorted(unknown)}: known are {", ".join(HEADS)}')
    rows = []
    for row, run, sample, _ in sampled_runs(
        'preconditioner',
        specs,
        (128, 16),
        split,
        images,
        batch_size,
        seed,
        options,
        device,
        shared=False,
    ):
        name, module = last_convolution(run.model, conv)
        row |= {
            'convolution': name,
            'damping': damping,
            'reduced_channels': reduced_channels,
            'batch_norm': 'running statistics',
            **measure(
                run.model,
                sample,
                module,
                heads if run.scope == 'mmpretrain' else (),
                reduced_channels,
                damping,
                seed,
            ),
        }
        rows.append(row)
    rows = gather(rows)
    result = {'analysis': 'preconditioner', 'runs': rows}
    if is_main():
        write_json(Path(out) / 'preconditioner.json', result)
        save_figure(draw(rows), Path(out) / 'preconditioner.png')
    return result


def measure(
    model: nn.Module,
    sample: Batches,
    conv: nn.Conv2d,
    heads: Sequence[str],
    reduced_channels: int,
    damping: float,
    seed: int,
) -> dict:
    """Gradients of the model's own loss and of the fitted heads at ``conv``."""
    model.eval().requires_grad_(True)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)
    data = [prepare(model, batch) for batch in sample.batches]
    probes: dict[str, Probe] = {}
    labels: list[Tensor] = []
    if heads:
        labels = [
            torch.cat([s.gt_label for s in batch['data_samples']]).to(
                batch['inputs'].device
            )
            for batch in data
        ]
        with torch.no_grad():
            maps = [model.backbone(batch['inputs'])[-1] for batch in data]
        basis = principal_basis(maps, reduced_channels)
        probes = {
            head: Probe(head, basis, maps, torch.cat(labels))
            for head in dict.fromkeys(('gap', *heads))
        }
    moments = {name: GradientMoments() for name in ('own', *probes)}
    tap = _Tap(conv)
    try:
        for index, batch in enumerate(data):
            with seeded(seed), fixed_proposals(model) as state:
                state['key'] = index
                loss = model_loss(model, batch)
            gradient = torch.autograd.grad(loss, tap.output)[0]
            moments['own'].add(tap.inputs, gradient, conv)
            if not probes:
                continue
            features = model.backbone(batch['inputs'])[-1]
            for head, probe in probes.items():
                loss = probe.loss(features, labels[index])
                gradient = torch.autograd.grad(loss, tap.output, retain_graph=True)[0]
                moments[head].add(tap.inputs, gradient, conv)
    finally:
        tap.handle.remove()
    reference = moments['gap'] if probes else moments['own']
    gap, kfac = reference.mean(), reference.kfac(damping)
    rows = {}
    for head, entry in moments.items():
        if head not in ('own', *heads):
            continue
        rows[head] = {
            **entry.describe(),
            'angle_to_gap': angle(entry.mean(), gap) if probes else None,
            'angle_to_kfac': angle(entry.mean(), kfac),
        }
        if head in probes:
            rows[head]['fit'] = probes[head].fit
    return {
        'kfac_of': 'the GAP head on the same features' if probes else 'its own loss',
        'angle_gap_to_kfac': angle(gap, kfac) if probes else None,
        'heads': rows,
    }


def draw(rows: Sequence[dict]):
    """Spectra, and bars of effective rank and angles, of the heads of each run."""
    # Runs may share a label.
    panels = [(row['label'], list(row['heads'].items())) for row in rows]
    if all(list(row['heads']) == ['own'] for row in rows):
        # No heads to compare within a run: the runs beside each other.
        panels = [('own loss', [(row['label'], row['heads']['own']) for row in rows])]
    fig, axes = figure(len(panels), 2)
    for column, (title, heads) in enumerate(panels):
        spectra, bars = axes[:, column]
        spectra.set_title(title, fontsize='small')
        spectra.set(yscale='log', xlabel='index')
        for index, (head, entry) in enumerate(heads):
            values = torch.as_tensor(entry['output_gradient']['eigenvalues'])
            if values[0] > 0:
                share = (values / values[0]).clamp_min(1e-12)
                spectra.plot(
                    range(1, len(share) + 1), share, color=colour(index), label=head
                )
        spectra.legend(fontsize='x-small')
        names = [name for name, _ in heads]
        place = range(len(names))
        ranks = [e['output_gradient']['effective_rank'] for _, e in heads]
        bars.bar(place, ranks, color=[colour(i) for i in place])
        bars.set_xticks(place, names, rotation=45, ha='right', fontsize='small')
        angles = bars.twinx()
        for key, marker in (('angle_to_gap', 'o'), ('angle_to_kfac', '^')):
            points = [(i, e[key]) for i, (_, e) in enumerate(heads)]
            points = [(i, a) for i, a in points if a is not None]
            if points:
                angles.plot(
                    *zip(*points, strict=True),
                    f'k{marker}',
                    label=key.replace('_', ' '),
                )
        angles.set_ylim(0, 185)
        angles.legend(fontsize='x-small', loc='upper left')
        if column == 0:
            spectra.set_ylabel('output gradient: eigenvalue / largest')
            bars.set_ylabel('effective rank (bars)')
        if column == len(panels) - 1:
            angles.set_ylabel('degrees (points)')
    return fig
