"""Predictions of several models on a few validation images, beside the truth.

``python -m mmgcp.visualization.side_by_side OUT.json --models CONFIG CHECKPOINT ...``
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgcp.datasets.building import build_dataset
from mmgcp.datasets.checking import IGNORED
from mmgcp.utils.cli import ArgumentParser, run_main
from mmgcp.utils.config import load_config
from mmgcp.utils.device import pick_device
from mmgcp.utils.files import write_json
from mmgcp.utils.run_specs import RunSpec, run_specs

from .files import read_image, save_image
from .predictor import Predictor, draw_sample

SCORE = 0.3
SIZE: dict[str, Any] = {'least': 256, 'most': 480}


def make_pictures(out: Path, models: Sequence[RunSpec], count: int) -> dict[str, Any]:
    """Draw truth and predictions.

    Args:
        out: JSON file to write; the PNG files go beside it.
        models: Config, checkpoint and name of each; one data set for all.
        count: Images, evenly spaced over the validation split.

    Returns:
        What the JSON file holds: for each image the files by model.
    """
    samples: list[dict] = []
    for config, checkpoint, name in models:
        settings = load_config(config)
        predictor = Predictor(settings, checkpoint, pick_device(None))
        dataset = build_dataset(settings, 'val')
        total = min(count, len(dataset))
        for order in range(total):
            index = int((order + 0.5) * len(dataset) / total)
            truth = truth_of(dataset, index)
            image = read_image(truth.img_path)
            if order == len(samples):
                file = f'{order}-truth.png'
                names = predictor.classes, predictor.colors
                drawn = draw_sample(image, truth, *names, predicted=False, **SIZE)
                save_image(drawn, out.parent / file)
                samples.append(
                    {'image': truth.img_path, 'truth': file, 'predictions': {}}
                )
            found = predictor(image, truth.img_path)
            if 'gt_sem_seg' in truth:
                # Pixels that the metric ignores are not tinted.
                ignored = truth.gt_sem_seg.data == IGNORED
                found.pred_sem_seg.data[ignored] = IGNORED
            file = f'{order}-{name}.png'
            drawn = predictor.draw(image, found, threshold=SCORE, **SIZE)
            save_image(drawn, out.parent / file)
            samples[order]['predictions'][name] = file
    result = {
        'split': 'validation',
        'score_threshold': SCORE,
        'samples': samples,
        'models': {
            name: {'config': config, 'checkpoint': checkpoint}
            for config, checkpoint, name in models
        },
    }
    write_json(out, result)
    return result


def truth_of(dataset: Any, index: int) -> Any:
    """The data sample of an image with its annotations, in pixels of the file."""
    found = dataset.get_data_info(index)
    if 'instances' not in found:
        return dataset[index]['data_samples']
    # The test pipeline of a detector may have no annotations, or no masks.
    from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs

    found['ori_shape'] = found['height'], found['width']
    masks = all('mask' in instance for instance in found['instances'])
    found = LoadAnnotations(with_bbox=True, with_mask=masks)(found)
    return PackDetInputs(meta_keys=('img_path',))(found)['data_samples']


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        'out', type=Path, help='JSON file to write, PNG files beside it'
    )
    parser.add_argument('--count', type=int, default=4, help='images')
    parser.add_argument(
        '--models', nargs='+', required=True, metavar='CONFIG CHECKPOINT'
    )
    parser.add_argument('--labels', nargs='+', help='name of each model')
    args = parser.parse_args(argv)
    make_pictures(args.out, run_specs(args.models, args.labels), args.count)


if __name__ == '__main__':
    run_main(main)
