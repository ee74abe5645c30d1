"""Scores by hand."""

import pytest
from mmengine.config import Config

from mmgcp.analysis.robustness import (
    ALEXNET_ERRORS,
    insert_step,
    mean_corruption_error,
    performance_under_corruption,
    relative_error,
)
from mmgcp.datasets.corruption import CORRUPTIONS, SEVERITIES
from mmgcp.utils.errors import UserError

TOP1 = 'accuracy/top1'


def table(values, metric=TOP1):
    return {
        name: {severity: {metric: value} for severity, value in row.items()}
        for name, row in values.items()
    }


def test_mpc_is_the_mean_and_rpc_its_share():
    found = performance_under_corruption(
        {TOP1: 80.0}, table({'fog': {1: 60, 3: 40}, 'snow': {1: 50, 3: 10}})
    )
    assert found == {TOP1: {'clean': 80.0, 'mPC': 40.0, 'rPC': 0.5}}


def test_nothing_clean_has_no_share():
    found = performance_under_corruption({'mIoU': 0.0}, table({'fog': {1: 0}}, 'mIoU'))
    assert found['mIoU']['rPC'] is None


def test_what_coco_does_not_define_has_no_mean():
    metric = 'coco/bbox_mAP_l'
    found = performance_under_corruption(
        {metric: -1.0}, table({'fog': {1: -1}}, metric)
    )
    assert found[metric] == {'clean': -1.0, 'mPC': None, 'rPC': None}


def alexnet(scale):
    return table(
        {
            name: dict.fromkeys(SEVERITIES, 100 * (1 - scale * ALEXNET_ERRORS[name]))
            for name in CORRUPTIONS
        }
    )


def test_alexnet_itself_has_an_mce_of_100():
    assert mean_corruption_error(alexnet(1.0), TOP1, 1000)['mCE'] == pytest.approx(100)
    half = mean_corruption_error(alexnet(0.5), TOP1, 1000)
    assert half['mCE'] == pytest.approx(50)
    assert half['CE']['fog'] == pytest.approx(50)


def test_without_a_definition_there_is_a_reason():
    assert '1000 classes' in mean_corruption_error(alexnet(1), TOP1, 10)['reason']
    part = {'fog': alexnet(1)['fog']}
    assert '15 corruptions' in mean_corruption_error(part, TOP1, 1000)['reason']
    few = {name: {1: row[1]} for name, row in alexnet(1).items()}
    assert '5 severities' in mean_corruption_error(few, TOP1, 1000)['reason']


def test_error_relative_to_another_run():
    own = table({'fog': {1: 0.8}, 'snow': {1: 0.6}}, 'coco/bbox_mAP')
    other = table({'fog': {1: 0.6}, 'snow': {1: 0.2}}, 'coco/bbox_mAP')
    found = relative_error(own, other, 'coco/bbox_mAP')
    assert found == pytest.approx(100 * (0.2 / 0.4 + 0.4 / 0.8) / 2)
    assert (
        relative_error(own, table({'fog': {1: 1.0}}, 'coco/bbox_mAP'), 'coco/bbox_mAP')
        is None
    )


def test_the_step_stands_behind_loading_or_in_front_of_packing():
    def names(position):
        steps = [
            {'type': 'LoadImageFromFile'},
            {'type': 'Resize'},
            {'type': 'mm.PackX'},
        ]
        dataset = {'dataset': {'pipeline': steps}}
        cfg = Config({'test_dataloader': {'dataset': dataset}})
        insert_step(cfg, {'type': 'New'}, position)
        pipeline = cfg.test_dataloader.dataset.dataset.pipeline
        return [step['type'] for step in pipeline]

    assert names('load') == ['LoadImageFromFile', 'New', 'Resize', 'mm.PackX']
    assert names('pack') == ['LoadImageFromFile', 'Resize', 'New', 'mm.PackX']
    with pytest.raises(UserError, match='no LoadImage'):
        insert_step(Config({}), {}, 'load')
