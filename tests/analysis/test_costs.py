"""Costs of real models on scenes that are small."""

from pathlib import Path

import pytest
import torch

pytest.importorskip('sklearn')
pytest.importorskip('mmpretrain')

from mmgcp.analysis import costs
from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.utils.run_specs import RunSpec

GAP = Path(__file__).parents[2] / 'configs/pretrain/resnet18-w8-gap_scenes.py'


def test_inference_is_timed_with_the_statistics_of_the_checkpoint(
    tmp_path, monkeypatch
):
    sizes = dict(train=1, val=1, test=1, size=32, crops=1, eval_crops=1, crop_size=32)
    make_scenes(tmp_path / 'scenes', ScenesSpec(**sizes, digits=5))
    monkeypatch.setenv('MMGCP_SCENES', str(tmp_path / 'scenes'))
    make, norms, unchanged = costs._inference_step, [], []

    def watched(run, batch):
        step, norm = make(run, batch), run.model.backbone.bn1
        start = norm.running_mean.clone()
        norms.append((norm, start))

        def call():
            step()
            unchanged.append(torch.equal(norm.running_mean, start))

        return call

    monkeypatch.setattr(costs, '_inference_step', watched)
    found = costs.measure_costs([RunSpec(str(GAP), 'none', 'gap')], 1, seconds=0.0)
    [(norm, start)] = norms
    assert unchanged == [True, True]
    assert not torch.equal(norm.running_mean, start)
    row = found['models']['gap']
    assert row['inference_images_per_second'] > 0
    assert row['training_images_per_second'] > 0
    assert (row['training_batch_size'], row['inference_batch_size']) == (30, 10)
