"""What an encoder knows without fine-tuning: k-NN, logistic regression, scores.

Protocols of `DINOv2 <https://arxiv.org/abs/2304.07193>`_, on the global average of the
last feature map. No image is augmented. What is chosen is chosen on the validation
images; the test images are looked at once.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmgcp.datasets.building import build_dataset
from mmgcp.engine.forward import prepare
from mmgcp.models.necks.last_map import last_map
from mmgcp.utils.errors import UserError
from mmgcp.utils.progress import track
from mmgcp.weights.errors import KeyMismatchError
from mmgcp.weights.trained_model import load_trained_model

from .sample import BATCH_SIZES, Run, load_encoder
from .transferability import h_score, leep, logme

#: Features ``(N, C)`` and labels ``(N,)``.
Features = tuple[np.ndarray, np.ndarray]

#: What :func:`evaluate_encoder` returns, and what ``scores`` adds.
METRICS = (
    *('knn/accuracy', 'knn/neighbors'),
    *('logistic/accuracy', 'logistic/strength', 'logistic/val'),
)
SCORES = ('scores/LogME', 'scores/H-score', 'scores/LEEP')

NEIGHBORS = (10, 20, 100, 200)
TEMPERATURE = 0.07
#: Inverse strengths of regularization; the published grid has 45 over this range.
STRENGTHS = tuple(np.logspace(-6, 5, 12))


def evaluate_encoder(
    config: Config,
    encoder: str,
    device: str | None = None,
    trust: bool = False,
    scores: bool = False,
) -> dict[str, float]:
    """Measure the frozen features of an encoder on classified images.

    Args:
        config: Config of mmpretrain: the backbone and the data loaders.
        encoder: Encoder file, checkpoint of a model or of torchvision, or ``'none'``.
        device: Defaults to the GPU if there is one.
        trust: Build every Python object of the file.
        scores: Add ``scores/LogME`` and ``scores/H-score`` of the training images, and
            ``scores/LEEP`` if the file fills the whole classifier of the config.

    Returns:
        See :func:`evaluate_features`.

    Raises:
        UserError: The backbone returns no feature map, or the images no class.
    """
    run = load_encoder(config, encoder, device, trust)
    splits = {name: pooled_features(run, name) for name in ('train', 'val', 'test')}
    found = evaluate_features(splits)
    if scores:
        found['scores/LogME'] = logme(*splits['train'])
        found['scores/H-score'] = h_score(*splits['train'])
        with contextlib.suppress(KeyMismatchError):  # an encoder has no classifier
            model = load_trained_model(config, encoder, run.device, trust)
            run = Run(run.spec, run.cfg, model)
            found['scores/LEEP'] = leep(*source_probabilities(run, 'train'))
    return found


@torch.no_grad()
def source_probabilities(run: Run, split: str) -> Features:
    """Probabilities of a classifier's own classes, and the labels of the images."""
    scores, labels = [], []
    for data in _batches(run, split):
        samples = run.model.predict(data['inputs'], data['data_samples'])
        scores += [sample.pred_score.double() for sample in samples]
        labels += [sample.gt_label for sample in samples]
    return torch.stack(scores).cpu().numpy(), torch.cat(labels).cpu().numpy()


def _batches(run: Run, split: str) -> Iterator[dict]:
    """All images of a split, through the pipeline of the test images."""
    loader, test = run.cfg[f'{split}_dataloader'], run.cfg.test_dataloader
    loader.dataset.pipeline = test.dataset.pipeline
    dataset = build_dataset(run.cfg, split)
    size = BATCH_SIZES[0]
    for start in track(range(0, len(dataset), size), f'features of {split}'):
        stop = min(start + size, len(dataset))
        batch = pseudo_collate([dataset[index] for index in range(start, stop)])
        data = prepare(run.model, batch)
        if not all('gt_label' in sample for sample in data['data_samples']):
            raise UserError(
                f'{run.cfg.filename}: the images of {split}_dataloader have no class. '
                'Give a config of mmpretrain with classified images'
            )
        yield data


@torch.no_grad()
def pooled_features(run: Run, split: str) -> Features:
    """Average of the last feature map, or patch tokens, of every image.

    The images of all splits pass the pipeline of the test images.
    """
    features, labels = [], []
    for data in _batches(run, split):
        last = run.model.backbone(data['inputs'])[-1]
        if last.dim() > 2:  # else the encoder has averaged already
            last = last_map('evaluate_encoder', last).flatten(2).double().mean(2)
        features.append(last.double())
        labels += [sample.gt_label for sample in data['data_samples']]
    return torch.cat(features).cpu().numpy(), torch.cat(labels).cpu().numpy()


def evaluate_features(splits: Mapping[str, Features]) -> dict[str, float]:
    """k-NN and logistic regression on features of ``train``, ``val`` and ``test``.

    Returns:
        ``knn/accuracy`` with the number of neighbors that is best on ``val``
        (``knn/neighbors``), and ``logistic/accuracy`` with the regularization
        that is best on ``val`` (``logistic/strength``). Accuracies in percent.
    """
    train, val, test = splits['train'], splits['val'], splits['test']
    on_val = [neighbors_accuracy(train, val, number) for number in NEIGHBORS]
    number = NEIGHBORS[int(np.argmax(on_val))]
    found = logistic_accuracy(train, val, test)
    return {
        'knn/accuracy': neighbors_accuracy(train, test, number),
        'knn/neighbors': number,
        **{f'logistic/{name}': value for name, value in found.items()},
    }


def neighbors_accuracy(train: Features, test: Features, number: int) -> float:
    """Accuracy in percent of the weighted vote of the nearest training images.

    Neighbors are nearest in cosine similarity ``s`` and vote with ``exp(s / 0.07)``.
    At most all training images vote.
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(
        min(number, len(train[0])),
        metric='cosine',
        weights=lambda distance: np.exp(-distance / TEMPERATURE),
    )
    return 100 * classifier.fit(*train).score(*test)


def logistic_accuracy(
    train: Features, val: Features, test: Features
) -> dict[str, float]:
    """Accuracy in percent of logistic regression.

    The strength of the regularization is the best one on ``val``. The classifier is
    then fitted to ``train`` and ``val`` together.

    Returns:
        ``accuracy`` on ``test``, ``strength`` (``C`` of scikit-learn) and ``val``, the
        accuracy that chose it.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def fitted(strength: float, data: Features) -> Any:
        with warnings.catch_warnings():
            # As published it stops after 1000 iterations, which weak regularization
            # may need more of.
            warnings.simplefilter('ignore', ConvergenceWarning)
            return LogisticRegression(C=strength, max_iter=1000).fit(*data)

    chosen = [100 * fitted(strength, train).score(*val) for strength in STRENGTHS]
    best = int(np.argmax(chosen))
    both = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]])
    return {
        'accuracy': 100 * fitted(STRENGTHS[best], both).score(*test),
        'strength': STRENGTHS[best],
        'val': chosen[best],
    }
