"""Reading pairs of paths, loading runs, and choosing samples."""

import pytest

from mmgcp.analysis.output import main_metric
from mmgcp.analysis.sample import Settings, sample_indices, sampled_runs
from mmgcp.utils.errors import UserError
from mmgcp.utils.run_specs import RunSpec, run_specs


def test_pairs_and_labels():
    specs = run_specs(['a/x.py', 'p', 'b/y.py', 'q'], ['one', 'two'])
    assert specs == [RunSpec('a/x.py', 'p', 'one'), RunSpec('b/y.py', 'q', 'two')]
    pairs = ['x.py', 'work/a/p.pth', 'x.py', 'work/b/p.pth', 'y.py', 'r.pth']
    assert [s.label for s in run_specs(pairs)] == ['a/p.pth', 'b/p.pth', 'y']
    with pytest.raises(UserError, match='3 paths'):
        run_specs(['a', 'b', 'c'])
    with pytest.raises(UserError, match='1 labels for 2 runs'):
        run_specs(['a', 'b', 'c', 'd'], ['one'])
    with pytest.raises(UserError, match="called 'x': give --labels"):
        run_specs(['a/x.py', 'p', 'b/x.py', 'q'])


def test_runs_come_with_their_sample_one_after_another(spec_of):
    specs = [spec_of('mmpretrain', label) for label in ('one', 'two')]
    rows, done = [], []
    settings = Settings(batch_size=3, device='cpu')
    for row, run, sample in sampled_runs('x', specs, settings, (7, 1)):
        assert 'seconds' not in row
        assert (sample.total, sample.sizes) == (7, [3, 2, 2])
        assert not run.model.training
        rows.append(row)
        done.append('seconds' in rows[0])
    assert [row['label'] for row in rows] == ['one', 'two']
    assert done == [False, True]
    assert all(row['seconds'] > 0 and row['sample']['images'] == 7 for row in rows)


def test_samples_are_fixed_by_the_seed():
    first = sample_indices(100, 10, 3)
    assert first == sample_indices(100, 10, 3) != sample_indices(100, 10, 4)
    assert sorted(sample_indices(4, 10, 0)) == [0, 1, 2, 3]


def test_the_metric_is_the_frameworks_or_the_one_asked_for():
    names = ['mIoU', 'aAcc']
    assert main_metric(names, None, 'log') == 'mIoU'
    assert main_metric(names, 'aAcc', 'log') == 'aAcc'
    with pytest.raises(UserError, match='log has no mAcc, only aAcc, mIoU'):
        main_metric(names, 'mAcc', 'log')
