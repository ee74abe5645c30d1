"""What steps ask a cluster for, and the graph for other workflow engines."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mmgcp.study.graph import write_graph
from mmgcp.study.resources import Resources
from mmgcp.study.step import KINDS, Step, StudyError, hash_steps

from .fake import fake_steps, fake_study, more_steps


def step(kind, processes=1):
    folder = Path('w') / kind
    command = ['python', 'train.py']
    return Step(kind, kind, command, folder / 'out', folder, processes=processes)


def test_kinds_get_what_they_need_by_default():
    texts = ['gpus_per_node=8', 'cpus_per_task=64', 'partition=big', 'nodes=2']
    asked = {
        kind: Resources({}, texts).of(step(kind, 16 if kind == 'pretrain' else 1))
        for kind in KINDS
    }
    assert asked['pretrain']['gpus_per_node'] == 8
    assert asked['pretrain']['nodes'] == 2
    for kind in ('export', 'convert', 'data', 'check', 'pictures'):
        assert asked[kind] == {'cpus_per_task': 64, 'partition': 'big', 'nodes': 1}
    for kind in ('costs', 'analysis'):
        assert asked[kind]['gpus_per_node'] == 1
    assert asked['costs']['exclusive'] is True
    assert 'exclusive' not in asked['analysis']


def test_the_command_line_wins_and_one_kind_wins_over_all():
    study = {
        'partition': 'slow',
        'pretrain': {'timeout_min': 2880, 'mem_gb': 64},
        'costs': {'exclusive': False},
    }
    texts = ['partition=fast', 'pretrain:mem_gb=0.5', 'transfer:timeout_min=60']
    found = Resources(study, texts)
    assert found.of(step('pretrain')) == {
        'cpus_per_task': 1,
        'nodes': 1,
        'partition': 'fast',
        'timeout_min': 2880,
        'mem_gb': 0.5,
    }
    assert found.of(step('transfer'))['timeout_min'] == 60
    assert 'exclusive' not in found.of(step('costs'))
    assert Resources({}, ['nodes=0']).of(step('export'))['nodes'] == 1


@pytest.mark.parametrize(
    ('texts', 'processes', 'message'),
    [
        (['nodes=2'], 3, '3 processes cannot be divided between nodes=2'),
        (['nodes=2'], 1, '1 processes cannot be divided between nodes=2'),
        (['nodes=2', 'gpus_per_node=2'], 8, 'need 4 GPUs on each, gpus_per_node=2'),
        (['export:nodes=2'], 4, 'export:nodes=2: only pretrain, transfer, evaluate'),
        (['nodes=two'], 4, "nodes='two' is not a whole number"),
    ],
)
def test_layouts_that_cannot_work_are_refused(texts, processes, message):
    with pytest.raises(StudyError, match=message):
        Resources({}, texts).check([step('pretrain', processes), step('export')])


@pytest.mark.parametrize(
    ('study', 'texts', 'message'),
    [
        ({}, ['partition'], 'expected KEY=VALUE or KIND:KEY=VALUE'),
        ({}, ['pretrian:mem_gb=1'], "no kind 'pretrian'; did you mean pretrain"),
        ({'exprot': {'mem_gb': 1}}, [], "no kind 'exprot'; did you mean export"),
    ],
)
def test_wrong_kinds_and_forms_are_named(study, texts, message):
    with pytest.raises(StudyError, match=message):
        Resources(study, texts)


def test_unknown_options_get_the_nearest_name():
    found = Resources({'pretrain': {'timout_min': 1}}, [])
    with pytest.raises(StudyError, match=r'timout_min; did you mean timeout_min\?'):
        found.check_names(['timeout_min', 'partition'])


def test_the_hash_counts_processes_and_not_where_they_are():
    one, two = step('pretrain', 4), step('pretrain', 8)
    assert hash_steps([one]) != hash_steps([two])
    assert '--nproc_per_node' not in ' '.join(one.command)


def test_graph_as_json_and_for_snakemake(tmp_path):
    steps = more_steps(fake_steps(tmp_path / 'w', seeds=[0]), tmp_path / 'w')
    steps[0].files = {steps[0].work_dir / 'config.py': 'lr = {1: 2}\n'}
    file = tmp_path / 'out/graph.json'
    resources = Resources({'transfer': {'cpus_per_task': 2, 'timeout_min': 90}})
    write_graph(fake_study([0]), steps, resources, file)
    graph = json.loads(file.read_text())['steps']
    assert [one['name'] for one in graph] == [one.name for one in steps]
    assert graph[-1]['after'] == [step.name for step in steps[:-2]]
    assert graph[0]['outputs'] == [str(steps[0].result), str(steps[0].weights)]
    assert set(graph[0]['outputs']) < set(graph[-1]['inputs'])
    assert graph[0]['resources']['timeout_min'] == 90
    with pytest.raises(StudyError, match=r'a \.json file'):
        write_graph(fake_study([0]), steps, resources, tmp_path / 'graph.txt')
    if shutil.which('snakemake') is None:
        pytest.skip('snakemake is not on PATH')
    command = ['snakemake', '--snakefile', file.with_suffix('.smk'), '--cores', '2']
    found = subprocess.run([*command, '-n'], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert 'segmentation_test_isqrt_seed0' in found.stdout + found.stderr
    assert (steps[0].work_dir / 'config.py').read_text() == 'lr = {1: 2}\n'
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert all(one.result.is_file() for one in steps)
