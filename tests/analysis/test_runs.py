"""Reading pairs of paths, and choosing samples."""

import json

import pytest

from mmgcp.utils.files import plain, write_json
from mmgcp.engine.distributed import interleave
from mmgcp.analysis.runs import RunSpec, load_run, run_specs, sample_indices
from mmgcp.analysis.sampled import sampled_runs


def test_pairs_and_labels():
    specs = run_specs(['a/x.py', 'p', 'b/y.py', 'q'], ['one', 'two'])
    assert specs == [RunSpec('a/x.py', 'p', 'one'), RunSpec('b/y.py', 'q', 'two')]
    names = [s.label for s in run_specs(['x.py', 'p', 'x.py', 'q', 'y.py', 'r'])]
    assert names == ['x 0', 'x 1', 'y']
    with pytest.raises(ValueError, match='3 paths'):
        run_specs(['a', 'b', 'c'])
    with pytest.raises(ValueError, match='1 labels for 2 runs'):
        run_specs(['a', 'b', 'c', 'd'], ['one'])


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.py'):
        RunSpec('gone.py', 'none', 'x').load_config()
    config = tmp_path / 'c.py'
    config.write_text("default_scope = 'mmaction'")
    with pytest.raises(ValueError, match='mmpretrain, mmdet, mmseg'):
        RunSpec(str(config), 'none', 'x').load_config()


def test_a_checkpoint_must_fit(spec_of, tmp_path):
    spec = spec_of('mmpretrain')
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        load_run(RunSpec(spec.config, 'gone.pth', 'x'), device='cpu')
    other = {'model.head.fc.weight': [[0.0]], 'model.head.fc.bias': [0.0]}
    with pytest.raises(RuntimeError, match=r'mmpretrain.pth does not fit'):
        load_run(spec, {'model.head.in_channels': 3, 'x': other}, device='cpu')


def test_runs_come_with_their_sample_one_after_another(spec_of):
    specs = [spec_of('mmpretrain', label) for label in ('one', 'two')]
    rows, done = [], []
    arguments = (7, 1), 'train', None, 2
    for row, run, sample, advance in sampled_runs('x', specs, *arguments, device='cpu'):
        assert 'seconds' not in row
        assert (sample.total, sample.sizes) == (7, [2, 2, 2, 1])
        assert not run.model.training
        advance()
        rows.append(row)
        done.append('seconds' in rows[0])
    assert [row['label'] for row in rows] == ['one', 'two']
    assert done == [False, True]
    assert all(row['seconds'] > 0 and row['sample']['images'] == 7 for row in rows)


@pytest.mark.parametrize('images', [0, -1])
def test_a_sample_of_nothing_is_refused(spec_of, images):
    specs = [spec_of('mmpretrain')]
    with pytest.raises(ValueError, match=f'images={images}'):
        next(sampled_runs('x', specs, (7, 1), 'train', images, device='cpu'))


def test_samples_are_fixed_by_the_seed():
    first = sample_indices(100, 10, 3)
    assert first == sample_indices(100, 10, 3) != sample_indices(100, 10, 4)
    assert len(set(first)) == 10
    assert sorted(sample_indices(4, 10, 0)) == [0, 1, 2, 3]


def test_shares_come_back_in_order():
    items = list(range(7))
    assert interleave([items[r::3] for r in range(3)]) == items
    assert interleave([[1], []]) == [1]


def test_json_has_no_nan(tmp_path):
    path = write_json(tmp_path / 'a' / 'x.json', {'v': [float('nan'), 1.0], 1: None})
    assert json.loads(path.read_text()) == {'v': [None, 1.0], '1': None}
    assert plain((1, float('inf'))) == [1, None]
    assert [p.name for p in path.parent.iterdir()] == ['x.json']
