"""Scores by hand."""

from types import SimpleNamespace

import pytest

from mmgcp.analysis.robustness import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    CORRUPTIONS,
    insert_step,
    mean_corruption_error,
    performance_under_corruption,
    relative_error,
)
from mmgcp.datasets.corruption import SEVERITIES
from mmgcp.utils.errors import UserError

TOP1 = 'accuracy/top1'


def table(values, metric=TOP1):
    return {
        name: {severity: {metric: value} for severity, value in row.items()}
        for name, row in values.items()
    }


@pytest.mark.parametrize(
    ('clean', 'corrupted', 'mpc', 'rpc'),
    [
        (80.0, {'fog': {1: 60, 3: 40}, 'snow': {1: 50, 3: 10}}, 40.0, 0.5),
        (0.0, {'fog': {1: 0}}, 0.0, None),
        # what COCO does not define
        (-1.0, {'fog': {1: -1}}, None, None),
    ],
)
def test_mpc_is_the_mean_and_rpc_its_share(clean, corrupted, mpc, rpc):
    found = performance_under_corruption({TOP1: clean}, table(corrupted))
    assert found == {TOP1: {'clean': clean, 'mPC': mpc, 'rPC': rpc}}


def alexnet(scale):
    return table(
        {
            name: dict.fromkeys(SEVERITIES, 100 * (1 - scale * ALEXNET_ERRORS[name]))
            for name in CORRUPTIONS
        }
    )


def test_alexnet_itself_has_an_mce_of_100():
    clean = {TOP1: 100 * (1 - ALEXNET_CLEAN_ERROR)}
    found = mean_corruption_error(alexnet(1.0), TOP1, 1000, clean)
    assert found['mCE'] == pytest.approx(100)
    assert found['relative_mCE'] == pytest.approx(100)
    half = mean_corruption_error(alexnet(0.5), TOP1, 1000, {TOP1: 100.0})
    assert half['mCE'] == pytest.approx(50)
    assert half['CE']['fog'] == pytest.approx(50)


def test_without_a_definition_there_is_a_reason():
    part = {'fog': alexnet(1)['fog']}
    few = {name: {1: row[1]} for name, row in alexnet(1).items()}
    for values, classes in ((alexnet(1), 10), (part, 1000), (few, 1000)):
        found = mean_corruption_error(values, TOP1, classes, {TOP1: 50.0})
        assert found['mCE'] is None
        assert '1000 classes, all 15 corruptions' in found['reason']


@pytest.mark.parametrize(('metric', 'best'), [('coco/bbox_mAP', 1), ('mAcc', 100)])
def test_error_relative_to_another_run(metric, best):
    def row(fog, snow):
        values = {'fog': {1: best * fog}, 'snow': {1: best * snow}}
        return {'metric': metric, 'table': table(values, metric)}

    found = relative_error(row(0.8, 0.6), row(0.6, 0.2))
    assert found == pytest.approx(100 * (0.2 / 0.4 + 0.4 / 0.8) / 2)
    assert relative_error(row(0.8, 0.6), row(1.0, 0.2)) is None


def test_the_step_stands_behind_loading_or_in_front_of_packing():
    kinds = [type(name, (), {}) for name in ('LoadImage', 'Resize', 'PackInputs')]

    def names(position):
        steps = [kind() for kind in kinds]
        inner = SimpleNamespace(pipeline=SimpleNamespace(transforms=steps))
        step = insert_step(SimpleNamespace(dataset=inner), position, seed=3)
        assert (step.severity, step.seed) == (0, 3)
        return [type(step).__name__ for step in steps]

    assert names('load') == ['LoadImage', 'Corrupt', 'Resize', 'PackInputs']
    assert names('pack') == ['LoadImage', 'Resize', 'Corrupt', 'PackInputs']
    kinds.pop()
    with pytest.raises(UserError, match='--position pack'):
        names('pack')
