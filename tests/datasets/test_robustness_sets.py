"""The robustness sets in their published layouts, tested by one classifier."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmpretrain')

from mmgcp.utils.config import load_config
from mmgcp.weights.trained_model import build_untrained

CONFIG = 'configs/pretrain/resnet18-gap_8xb32-lrfast_in1k.py'
SETS = ('imagenet-a', 'imagenet-r', 'imagenet-sketch', 'stylized-imagenet')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A classifier that prefers class 6, and others the less the farther they are."""
    model = build_untrained(load_config(CONFIG))
    torch.nn.init.zeros_(model.head.fc.weight)
    with torch.no_grad():
        model.head.fc.bias.copy_(-(torch.arange(1000.0) - 6).abs())
    path = tmp_path_factory.mktemp('model') / 'model.pth'
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize('name', SETS)
def test_images(name, checkpoint, run_tool, tmp_path):
    data = f'configs/robustness/{name}.py'
    classes = (
        load_config(data).test_dataloader.dataset.get('metainfo', {}).get('classes')
    )
    below = {'imagenet-sketch': 'sketch', 'stylized-imagenet': 'val'}.get(name, '')
    root = tmp_path / 'data' / below
    for folder in classes or [f'n{i:08d}' for i in range(1000)]:
        (root / folder).mkdir(parents=True)
        Image.new('RGB', (32, 32)).save(root / folder / 'x.png')
    arguments = ('test', CONFIG, checkpoint, '--data', data, '--out', tmp_path / 'm')
    options = ('--cfg-options', 'test_dataloader.num_workers=0')
    options += (f'test_dataloader.dataset.data_root={tmp_path / "data"}',)
    few = 'test_dataloader.dataset.indices=7'  # the first seven classes
    run = run_tool(*arguments, '--work-dir', tmp_path, *options, few)
    assert not run.status, run.err
    # Class 6 is one of the seven in every set; only one folder is right.
    found = json.loads((tmp_path / 'm').read_text())
    assert found['accuracy/top1'] == pytest.approx(100 / 7)
    if classes:
        (root / classes[3]).rename(root / 'n00000001')
        run = run_tool(*arguments, *options)
        assert run.status
        assert 'metainfo.classes of CustomDataset: expected the 200' in run.err
        assert f'they differ in n00000001, {classes[3]}' in run.err


def write_video(path, frames):
    import cv2

    path.parent.mkdir(parents=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 25, (32, 32))
    for value in range(frames):
        writer.write(np.full((32, 32, 3), 6 * value, np.uint8))
    writer.release()


def test_videos(checkpoint, run_tool, tmp_path):
    for name, frames in (('snow', 31), ('translate', 41)):
        write_video(tmp_path / 'p' / name / 'n1' / 'a.mp4', frames)
    data = 'configs/robustness/imagenet-p.py'
    arguments = ('test', CONFIG, checkpoint, '--data', data, '--work-dir', tmp_path)
    arguments += ('--out', tmp_path / 'm', '--cfg-options')
    arguments += ('test_dataloader.num_workers=0',)
    arguments += (f'test_dataloader.dataset.data_root={tmp_path / "p"}',)
    names = 'test_dataloader.dataset.perturbations=snow,translate'
    run = run_tool(*arguments, names)
    assert not run.status, run.err
    found = json.loads((tmp_path / 'm').read_text())
    keys = [f'perturbation/{k}' for k in ('FP', 'FP/snow', 'T5D/translate')]
    assert {key: found[key] for key in keys} == dict.fromkeys(keys, 0)
    run = run_tool(*arguments, names, 'test_dataloader.sampler.shuffle=True')
    assert run.status
    assert 'FlipRate: frame' in run.err
    one = 'test_dataloader.dataset.perturbations=blur'
    run = run_tool(*arguments, one)
    assert '/blur/WNID/*.mp4, found none' in run.err
    run = run_tool(*arguments)
    assert 'gaussian_noise/WNID/*.mp4, found none' in run.err


def test_frames_are_those_of_the_video(tmp_path):
    from mmgcp.datasets import ImageNetP
    from mmgcp.datasets.checking import DataError

    write_video(tmp_path / 'snow' / 'n1' / 'a.mp4', 31)
    write_video(tmp_path / 'snow' / 'n2' / 'b.mp4', 30)
    settings = dict(data_root=str(tmp_path), perturbations=['snow'], test_mode=True)
    data = ImageNetP(**settings)
    assert len(data) == 62
    assert len(ImageNetP(**settings, indices=1)) == 31
    for index in (0, 17, 30):
        sample = data[index]
        assert (sample['frame'], sample['video']) == (index, 'snow/n1/a.mp4')
        # A video is not exact, but the gray of the next frame is 6 away.
        assert abs(sample['img'].mean() - 6 * index) < 5.9
    assert data[17]['img'].mean() < data[18]['img'].mean()
    with pytest.raises(DataError, match='30 frames can be read, expected 31'):
        data[31]
