"""Where the error of a measure comes from: the training seeds, and the images.

A measure is taken of every seed of an arm, on the same samples of images. This is a
two-way layout with random effects and one value in each cell (S. Searle, G. Casella, C.
McCulloch, "Variance Components", 1992, chapter 4). Were every seed measured on images
of its own, the variances between images and of the rest would be one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmgcp.utils.errors import UserError
from mmgcp.utils.run_specs import RunSpec


def components(values: ArrayLike) -> dict[str, Any]:
    """Mean of a measure, its variances, and the standard error of the mean.

    With ``S`` seeds and ``B`` samples of images the squared ``standard_error`` is
    ``between_seeds / S + between_images / B + rest / (S B)``. With one seed, or one
    sample, it and the variances are None. ``from_seeds`` and ``from_images`` are the
    errors that are known with several seeds alone, or several samples alone: what the
    means of the seeds, or of the samples, show.

    Args:
        values: One row for each seed ``(S, B)``.
    """
    values = np.asarray(values, float)
    seeds, samples = values.shape
    found: dict[str, Any] = {'seeds': seeds, 'samples': samples, 'mean': values.mean()}
    keys = ('between_seeds', 'between_images', 'rest', 'standard_error')
    found |= dict.fromkeys((*keys, 'from_seeds', 'from_images'))
    rows, columns = values.mean(1), values.mean(0)
    if seeds > 1:
        found['from_seeds'] = (rows.var(ddof=1) / seeds) ** 0.5
    if samples > 1:
        found['from_images'] = (columns.var(ddof=1) / samples) ** 0.5
    if seeds > 1 and samples > 1:
        deviation = values - rows[:, None] - columns + values.mean()
        rest = (deviation**2).sum() / ((seeds - 1) * (samples - 1))
        seed = max(rows.var(ddof=1) - rest / samples, 0.0)
        image = max(columns.var(ddof=1) - rest / seeds, 0.0)
        error = (seed / seeds + image / samples + rest / (seeds * samples)) ** 0.5
        found |= dict(zip(keys, (seed, image, rest, error), strict=True))
    return found


def check_seeds(specs: Sequence[RunSpec], seeds: bool) -> None:
    """UserError if labels stand for seeds and not all have as many."""
    labels = [spec.label for spec in specs]
    counts = {label: labels.count(label) for label in labels}
    if seeds and len(set(counts.values())) > 1:
        found = ', '.join(f'{label}: {count}' for label, count in counts.items())
        raise UserError(
            f'--seeds: every label needs as many checkpoints, one for each seed; {found}'
        )


def arms_of(rows: Sequence[dict], seeds: bool) -> list[dict]:
    """Components of each arm, and of its difference to the first one.

    Args:
        rows: ``label`` and ``measures``: by name, the value for each sample of images.
        seeds: Rows of one label are seeds of one arm; otherwise each row is an arm.
            Differences are between the seeds in the order of the rows.
    """
    groups: dict[Any, list[dict]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row['label'] if seeds else index, []).append(row)
    arms = []
    first: dict[str, np.ndarray] = {}
    for group in groups.values():
        values = {
            name: np.array([row['measures'][name] for row in group], float)
            for name in group[0]['measures']
        }
        first = first or values
        arm = {'label': group[0]['label'], 'measures': {}, 'difference': {}}
        for name, cells in values.items():
            arm['measures'][name] = components(cells)
            if cells is not first[name] and cells.shape == first[name].shape:
                arm['difference'][name] = components(cells - first[name])
        arms.append(arm)
    return arms


def lines_of(arms: Sequence[dict]) -> list[str]:
    """What is known of each arm and its difference to the first one, with the error.

    Nothing is said of one seed on one sample of images.
    """
    lines = []
    for arm in arms:
        for name, found in arm['measures'].items():
            alone = found['seeds'] == found['samples'] == 1
            if alone or np.isnan(found['mean']):  # a model without a Hessian
                continue
            lines.append(f'{arm["label"]}: {name} {_with_error(found)}')
            difference = arm['difference'].get(name)
            if difference is None or np.isnan(difference['mean']):
                continue
            text = f'  minus {arms[0]["label"]}: {_with_error(difference)}'
            error = difference['standard_error']
            if error is not None and abs(difference['mean']) <= 2 * error:
                text += '; they agree within two standard errors'
            elif error is not None:
                text += '; they differ by more than two standard errors'
            lines.append(text)
    return lines


def _with_error(found: dict) -> str:
    mean, known = f'{found["mean"]:.4g}', []
    if found['from_seeds'] is not None:
        known.append(f'{found["from_seeds"]:.2g} from {found["seeds"]} seeds')
    if found['from_images'] is not None:
        samples = f'{found["samples"]} samples of images'
        known.append(f'{found["from_images"]:.2g} from {samples}')
    error = f'standard error {", ".join(known)}'
    if found['standard_error'] is not None:
        return f'{mean} +- {found["standard_error"]:.2g} ({error})'
    unknown = 'seeds' if found['from_seeds'] is None else 'images'
    return f'{mean} ({error}; error from the {unknown} unknown)'
