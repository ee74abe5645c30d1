"""The real images scenes are made of, cut by identity before anything is composed."""

from dataclasses import dataclass

import numpy as np

SPLITS = ('train', 'val', 'test')
CLASSES = tuple(str(digit) for digit in range(10))
FRACTIONS = {'train': 0.6, 'val': 0.2, 'test': 0.2}


@dataclass(frozen=True)
class Sources:
    """Material of one split.

    Attributes:
        digits: ``(K, 8, 8)`` float64 in [0, 1], handwriting without background.
        labels: ``(K,)`` class of each digit, 0 to 9.
        identities: ``(K,)`` row of each digit in scikit-learn's ``load_digits``.
        photographs: uint8 RGB strips ``(H, W, 3)`` of the photographs.
    """

    digits: np.ndarray
    labels: np.ndarray
    identities: np.ndarray
    photographs: tuple[np.ndarray, ...]


def split_identities(
    labels: np.ndarray, seed: int, digits: int = 0
) -> dict[str, np.ndarray]:
    """Cut the rows of ``labels`` into train, val and test, class by class.

    Args:
        labels: class of each row.
        seed: decides which row goes where.
        digits: rows of each class to use; 0 for all.
    """
    rng = np.random.default_rng([seed, 0])
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))[: digits or None]
        first = round(len(rows) * FRACTIONS['train'])
        second = first + round(len(rows) * FRACTIONS['val'])
        for split, part in zip(SPLITS, np.split(rows, [first, second]), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


def load_sources(seed: int, digits: int = 0) -> dict[str, Sources]:
    """Read scikit-learn's digits and photographs and cut both into splits.

    The photographs are cut too, into vertical strips in the same proportions:
    no background pixel of the test split is seen in training.

    Raises:
        ModuleNotFoundError: scikit-learn or Pillow is missing.
    """
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'scenes are composed from images that scikit-learn bundles; '
            "install them with: pip install 'mmgcp[study]'"
        ) from error
    bundle = load_digits()
    photographs = [np.ascontiguousarray(image) for image in load_sample_images().images]
    identities = split_identities(bundle.target, seed, digits)
    cuts = np.cumsum([0.0, *(FRACTIONS[split] for split in SPLITS)])
    sources = {}
    for index, split in enumerate(SPLITS):
        strips = []
        for image in photographs:
            left, right = (
                round(cut * image.shape[1]) for cut in cuts[index : index + 2]
            )
            strips.append(image[:, left:right])
        rows = identities[split]
        sources[split] = Sources(
            digits=bundle.images[rows] / 16.0,
            labels=bundle.target[rows],
            identities=rows,
            photographs=tuple(strips),
        )
    return sources
