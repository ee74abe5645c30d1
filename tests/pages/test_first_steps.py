"""The first pages a user follows, executed: commands and Python, with tiny files."""

import glob
import re
import shlex

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from .conftest import ROOT, blocks, commands

pytestmark = pytest.mark.once
ISQRT = 'configs/pretrain/resnet18-w8-isqrt_scenes.py'
DETECTOR = 'configs/detection/mask-rcnn_r18-w8_fpn_scenes.py'
SEGMENTOR = 'configs/segmentation/upernet_r18-w8_scenes.py'
MASK_RCNN = 'configs/detection/mask-rcnn_r50-gcp-m_fpn_1x_coco.py'


@pytest.fixture
def checkout(tmp_path, monkeypatch, scenes):
    """A folder with the project's tools, configs and scenes."""
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/scenes').symlink_to(scenes)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def official(path, depth):
    from weights.networks import CovarianceResNet, randomize

    network = CovarianceResNet(depth, 32, 'isqrt')
    network.fc = nn.Linear(32 * 33 // 2, 10)
    tensors = randomize(network).state_dict()
    tensors = {f'module.{name}': tensor for name, tensor in tensors.items()}
    torch.save(dict(epoch=99, state_dict=tensors), path)


def trained(config, path):
    """A checkpoint as a training with a config leaves it."""
    from mmgcp.utils.config import load_config
    from mmgcp.weights.trained_model import load_trained_model

    model = load_trained_model(load_config(ROOT / config), 'none')
    classes = tuple(map(str, range(10)))
    if 'coco' in config:
        from mmdet.datasets import CocoDataset

        classes = CocoDataset.METAINFO['classes']
    palette = [[5 * i % 256, 9 * i % 256, i] for i in range(len(classes))]
    meta = dict(dataset_meta=dict(classes=classes, palette=palette))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)


def picture(path, height=120):
    import numpy as np
    from tiny_datasets import picture

    path.parent.mkdir(parents=True, exist_ok=True)
    picture(np.random.default_rng(0)).crop((0, 0, 160, height)).save(path)


@pytest.fixture
def follow(run_tool):
    """Run every call of a tool on a page, but those with a placeholder."""

    def run(page, *tools):
        for command in commands(page):
            found = re.match(r'python tools/(\S+)\.py (.*)', command)
            if found and found.group(1) in tools:
                done = run_tool(found.group(1), *shlex.split(found.group(2)))
                assert done.status == 0, f'{command}\n{done.err}'

    return run


def test_readme_converts_and_builds(checkout, follow):
    official(checkout / 'R50_GCP.pth.tar', 50)
    follow('README.md', 'convert_checkpoint')
    (text,) = blocks('README.md', 'python')
    names = {}
    exec(text, names)
    init_default_scope('mmdet')
    MODELS.build({**names['model']['backbone'], 'depth': 50}).init_weights()


def test_tour(checkout, run_tool):
    """Every command but the first: the scenes are small and there already."""
    ran = []
    for text in blocks('tour.md', 'bash'):
        program, *words = shlex.split(text.replace('\\\n', ' '))
        assert program == 'python'
        # As the shell does.
        words = [found for w in words for found in glob.glob(w) or [w]]
        if words[0] == '-c':
            exec(words[1], {})
        elif words[0] != 'tools/make_scenes.py':
            tool = words[0].removeprefix('tools/').removesuffix('.py')
            done = run_tool(tool, *words[1:])
            assert not done.status, f'{text}\n{done.err}'
        ran.append(words[0])
    assert len(ran) == 10
    assert ran[-1] == 'tools/predict.py'
    assert (checkout / 'work_dirs/tour/predictions/000000.png').stat().st_size


def test_convert(checkout, follow):
    official(checkout / 'R18_GCP.pth.tar', 18)
    follow('convert.md', 'convert_checkpoint')
    assert (checkout / 'checkpoints/resnet18-isqrt.pth').is_file()


def test_an_existing_project(checkout):
    """Its Python: an inferencer of mmdet, and a subclass in a registry of its own."""
    trained(MASK_RCNN, checkout / 'epoch_12.pth')
    picture(checkout / 'image.jpg', height=30)  # enlarged to 1333 x 250
    texts = blocks('existing_project.md', 'python')
    exec(next(text for text in texts if 'DetInferencer' in text), {})
    assert (checkout / 'outputs/vis/image.jpg').stat().st_size

    own = next(text for text in texts if 'my_project' in text)
    parts = re.split(r'^# (\S+/\S+\.py)\n', own, flags=re.M)
    for name, content in zip(parts[1::2], parts[2::2], strict=True):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text(content)
    init_default_scope('mmdet')
    settings = dict(type='my_project.MyEncoder', depth=18, last_stage='stride')
    encoder = MODELS.build(settings)
    assert any(kind.__module__.startswith('mmdet') for kind in type(encoder).__mro__)
    assert len(encoder(torch.zeros(1, 3, 64, 64))) == 4


def test_export(checkout, follow):
    trained(ISQRT, checkout / 'work_dirs/isqrt/epoch_8.pth')
    picture(checkout / 'digit.png')
    follow('export.md', 'export_onnx', 'publish_checkpoint', 'convert_checkpoint')
    names = {}
    exec(blocks('export.md', 'python')[0], names)
    assert names['logits'].shape == (1, 10)


def test_predict(checkout, follow):
    for name in ('seg', 'seg-gap', 'seg-dropcov'):
        trained(SEGMENTOR, checkout / f'work_dirs/{name}/epoch_6.pth')
    trained(DETECTOR, checkout / 'work_dirs/det/epoch_6.pth')
    for name in ('photos/a.jpg', 'photos/b.png', 'street.jpg'):
        picture(checkout / name)
    follow('predict.md', 'predict', 'browse_data', 'analysis/feature_maps')
    checkpoint = 'work_dirs/seg/epoch_6.pth'
    names = dict(CONFIG=SEGMENTOR, CHECKPOINT=checkpoint)
    exec(blocks('predict.md', 'python')[0], names)
    assert (checkout / 'out.png').stat().st_size
