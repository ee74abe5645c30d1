"""Predictions of several models on a few validation images, beside the truth.

``python -m mmgcp.study.pictures OUT --models NAME=CONFIG=CHECKPOINT ...``
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.dataset import pseudo_collate

from mmgcp.analysis.runs import Run, RunSpec, build_dataset, load_run
from mmgcp.utils.cli import ArgumentParser, run_main
from mmgcp.utils.files import replacing

from .costs import named_models
from .step import StudyError, write_json

SCORE = 0.3
_IGNORED = 255


def make_pictures(
    folder: Path, models: dict[str, tuple[str, str]], count: int
) -> dict[str, Any]:
    """Draw truth and predictions.

    Args:
        folder: Where the PNG files and ``pictures.json`` go.
        models: Config and checkpoint by name; one data set for all.
        count: Images, evenly spaced over the validation split.

    Returns:
        What ``pictures.json`` holds: for each image the files by model.
    """
    samples: list[dict] = []
    for name, (config, checkpoint) in models.items():
        run = load_run(RunSpec(config, checkpoint, name))
        dataset = build_dataset(run.cfg, 'val')
        total = min(count, len(dataset))
        indices = [round((i + 0.5) * len(dataset) / total) for i in range(total)]
        indices = [min(index, len(dataset) - 1) for index in indices]
        batch = [dataset[index] for index in indices]
        with torch.no_grad():
            model: Any = run.model
            outputs = model.test_step(pseudo_collate(batch))
        for order, (index, output) in enumerate(zip(indices, outputs, strict=True)):
            image = read_image(output.img_path)
            painter = _painter(run, dataset.metainfo)
            if order == len(samples):
                truth = dataset.get_data_info(index)
                file = painter(folder / f'{order}-truth.png', image, output, truth)
                samples.append(
                    {'image': output.img_path, 'truth': file, 'predictions': {}}
                )
            file = painter(folder / f'{order}-{name}.png', image, output, None)
            samples[order]['predictions'][name] = file
    result = {
        'split': 'validation',
        'score_threshold': SCORE,
        'samples': samples,
        'models': {
            name: {'config': config, 'checkpoint': checkpoint}
            for name, (config, checkpoint) in models.items()
        },
    }
    write_json(folder / 'pictures.json', result)
    return result


def read_image(path: str) -> np.ndarray:
    """Read an image as ``(H, W, 3)``, RGB."""
    import mmcv

    return mmcv.imread(path, channel_order='rgb')


def _painter(run: Run, meta: dict) -> Callable[..., str]:
    classes = list(meta['classes'])
    palette = meta.get('palette')
    if not palette or len(palette) < len(classes):
        from matplotlib import colormaps

        palette = 255 * colormaps['tab10'](np.arange(len(classes)) % 10)[:, :3]
    colours = np.asarray(palette, dtype=float) / 255
    if run.scope == 'mmdet':
        return partial(_draw_detection, classes=classes, colours=colours)
    if run.scope == 'mmseg':
        return partial(_draw_segmentation, colours=colours)
    raise StudyError(f'{run.spec.config}: no pictures for {run.scope}')


def _draw_detection(
    file: Path,
    image: np.ndarray,
    output: Any,
    truth: dict | None,
    classes: list[str],
    colours: np.ndarray,
) -> str:
    figure, axis = _canvas(image)
    if truth is not None:
        found = [
            (instance['bbox'], instance['bbox_label'], None, instance.get('mask'))
            for instance in truth['instances']
            if not instance.get('ignore_flag')
        ]
        found = [(b, c, s, _polygon_mask(m, image.shape)) for b, c, s, m in found]
    else:
        instances = output.pred_instances.cpu().numpy()
        keep = [i for i, score in enumerate(instances.scores) if score >= SCORE]
        masks = instances.masks if 'masks' in instances else None
        found = [
            (
                instances.bboxes[i],
                instances.labels[i],
                instances.scores[i],
                None if masks is None else masks[i],
            )
            for i in keep
        ]
    for (x1, y1, x2, y2), label, score, mask in found:
        colour = colours[label]
        axis.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=colour, lw=1.5)
        )
        if mask is not None:
            layer = np.zeros((*mask.shape, 4))
            layer[mask.astype(bool)] = (*colour, 0.45)
            axis.imshow(layer)
        text = classes[label] if score is None else f'{classes[label]} {score:.2f}'
        axis.text(
            x1, y1, text, color='white', fontsize=7, va='bottom', clip_on=True,
            bbox={'facecolor': colour, 'edgecolor': 'none', 'pad': 1},
        )  # fmt: skip
    return _save(figure, file)


def _polygon_mask(mask: Any, shape: tuple) -> np.ndarray | None:
    """COCO's polygons or run lengths as a boolean map."""
    if mask is None:
        return None
    from pycocotools import mask as coco

    if isinstance(mask, list):
        mask = coco.merge(coco.frPyObjects(mask, shape[0], shape[1]))
    elif isinstance(mask['counts'], list):
        mask = coco.frPyObjects(mask, shape[0], shape[1])
    return coco.decode(mask).astype(bool)


def _draw_segmentation(
    file: Path, image: np.ndarray, output: Any, truth: dict | None, colours: np.ndarray
) -> str:
    figure, axis = _canvas(image)
    name = 'gt_sem_seg' if truth is not None else 'pred_sem_seg'
    labels = getattr(output, name).data[0].cpu().numpy()
    layer = np.zeros((*labels.shape, 4))
    valid = labels != _IGNORED
    if truth is None and 'gt_sem_seg' in output:
        # What the metric ignores says nothing: leave it unpainted here as well.
        valid &= output.gt_sem_seg.data[0].cpu().numpy() != _IGNORED
    layer[valid, :3] = colours[labels[valid]]
    layer[valid, 3] = 0.6
    axis.imshow(layer)
    return _save(figure, file)


def _canvas(image: np.ndarray) -> tuple[Figure, Any]:
    height, width = image.shape[:2]
    figure = Figure(figsize=(3, 3 * height / width), dpi=120)
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(image)
    axis.set_axis_off()
    return figure, axis


def _save(figure: Figure, file: Path) -> str:
    with replacing(file) as part:
        figure.savefig(part, format='png')
    return file.name


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder for the pictures')
    parser.add_argument('--count', type=int, default=4, help='images')
    parser.add_argument(
        '--models',
        nargs='+',
        required=True,
        metavar='NAME=CONFIG=CHECKPOINT',
        help='whose predictions to draw',
    )
    args = parser.parse_args(argv)
    make_pictures(Path(args.out), named_models(args.models), args.count)


if __name__ == '__main__':
    run_main(main)
