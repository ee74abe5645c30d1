"""From a study file to the graph of its steps."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.study.config import load_study, select
from mmgcp.study.derived_config import DerivedConfig
from mmgcp.study.plan import Planner
from mmgcp.study.step import Step, StudyError, launched

ROOT = Path(__file__).parents[2]
SCENES = ROOT / 'configs/studies/scenes.py'


def plan(study, folder):
    planner = Planner(study, Path(folder), ROOT)
    return planner.plan(), planner


@pytest.fixture
def study():
    return load_study(SCENES)


def write(folder, text):
    file = folder / 'study.py'
    file.write_text(text)
    return file


def test_graph_of_the_default_study(study, tmp_path):
    steps, planner = plan(study, tmp_path)
    assert planner.missing == []
    names = [step.name for step in steps]
    assert names[0] == 'data'
    by_name = {step.name: step for step in steps}
    for encoder in ('gap', 'isqrt', 'dropcov'):
        for task in ('detection', 'segmentation'):
            step = by_name[f'{task}/{encoder}/seed0']
            assert step.deps == [f'export/{encoder}/seed0']
            assert step.inputs == [by_name[step.deps[0]].result]
            test = by_name[f'{task}-test/{encoder}/seed0']
            assert test.inputs == [step.result]
            assert '--out' in test.command
        assert by_name[f'export/{encoder}/seed0'].deps == [f'pretrain/{encoder}/seed0']
    assert len({step.work_dir for step in steps}) == len(steps)
    assert by_name['costs/detection'].exclusive


def test_config_of_a_step_is_the_config_plus_the_encoder(study, tmp_path):
    steps, _ = plan(study, tmp_path)
    step = next(s for s in steps if s.name == 'detection/isqrt/seed0')
    [(file, text)] = step.files.items()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    made = Config.fromfile(file).to_dict()
    base = Config.fromfile(ROOT / step.meta['config']).to_dict()
    backbone = made['model']['backbone']
    assert backbone['init_cfg']['type'] == 'mmgcp.PretrainedEncoder'
    assert backbone['init_cfg']['checkpoint'].endswith('export/isqrt/seed0/encoder.pth')
    assert '_delete_' not in backbone['init_cfg']
    assert backbone['last_stage'] == 'maxpool'
    assert made['randomness'] == {'seed': 0}
    base['model']['backbone'].update(
        init_cfg=backbone['init_cfg'], last_stage='maxpool'
    )
    base['randomness'] = {'seed': 0}
    assert made == base
    # What the step's hash covers is what mmengine makes of the file.
    assert step.content == made


def test_seeds_change_every_training(study, tmp_path):
    steps, _ = plan(select(study, seeds=3), tmp_path)
    seeds = {
        (step.meta['task'], step.meta['encoder'], step.meta['seed'])
        for step in steps
        if step.kind in ('pretrain', 'transfer')
    }
    assert len(seeds) == 27
    contents = [s.content for s in steps if s.kind == 'transfer']
    assert {content['randomness']['seed'] for content in contents} == {0, 1, 2}


def test_selecting_keeps_hashes(study, tmp_path):
    from mmgcp.study.step import hash_steps

    everything = hash_steps(plan(study, tmp_path)[0])
    part = hash_steps(plan(select(study, encoders=['isqrt']), tmp_path)[0])
    assert all(
        everything[name] == value
        for name, value in part.items()
        if name.split('/')[0] not in ('pictures', 'costs')
    )


def test_torchrun_when_there_are_several_processes(study, tmp_path):
    steps, _ = plan(select(study, nproc=2), tmp_path)
    step = next(s for s in steps if s.kind == 'transfer')
    line = shlex.join(launched(step.command, step.processes))
    assert '-m torch.distributed.run --standalone --nproc_per_node=2' in line
    assert line.endswith('--launcher pytorch')
    assert step.processes == 2
    assert step.meta['batch_size'] == 2 * step.content['train_dataloader']['batch_size']


def test_analyses_become_steps(study, tmp_path):
    steps, _ = plan(select(study, analyses=['all'], seeds=2), tmp_path)
    found = {step.name: step for step in steps if step.kind == 'analysis'}
    assert 'analysis/preconditioner/pretrain' in found
    assert 'analysis/preconditioner/detection' in found
    line = shlex.join(found['analysis/robustness/segmentation'].command)
    assert '--labels gap isqrt dropcov' in line
    line = shlex.join(found['analysis/convergence/detection'].command)
    assert line.count('epoch_') == 6
    for name in {name.split('/')[1] for name in found}:
        assert (ROOT / f'tools/analysis/{name}.py').is_file()


def test_full_size_study_plans_and_says_what_is_missing(tmp_path):
    study = load_study(ROOT / 'configs/studies/imagenet_coco_ade20k.py')
    steps, planner = plan(study, tmp_path)
    assert len([s for s in steps if s.kind == 'transfer']) == 36
    assert not any(s.kind == 'pretrain' for s in steps)
    missing = '\n'.join(planner.missing)
    for name in ('resnet50-gap.pth', 'resnet50-isqrt.pth', 'resnet50-dropcov.pth'):
        assert name in missing
    last_stages = {
        s.meta['encoder']: s.content['model']['backbone']['last_stage']
        for s in steps
        if s.kind == 'transfer' and s.meta['task'] == 'faster_rcnn'
    }
    assert last_stages['gcp-d'] == 'stride'
    assert last_stages['gcp-m'] == 'maxpool'


def test_data_that_lack_an_image_are_missing(tmp_path, monkeypatch):
    scenes = tmp_path / 'scenes'
    sizes = dict(train=2, val=1, test=1, size=32, crops=1, eval_crops=1, digits=5)
    make_scenes(scenes, ScenesSpec(**sizes))
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    config = tmp_path / 'detector.py'
    base = ROOT / 'configs/detection/faster-rcnn_r18-w8_fpn_scenes.py'
    config.write_text(f'_base_ = {str(base)!r}\n')
    file = write(
        tmp_path,
        f"""
encoders = dict(a=dict(init_cfg=None), b=dict(init_cfg=None))
tasks = dict(boxes=dict(config={str(config)!r}, metrics={{'coco/bbox_mAP': 'AP'}}))
""",
    )
    assert plan(load_study(file), tmp_path / 'w')[1].missing == []
    image = scenes / 'detection/train/000001.png'
    image.unlink()
    [note] = plan(load_study(file), tmp_path / 'w')[1].missing
    assert note.startswith('(CocoDataset): ')
    assert '1 missing, such as 000001.png' in note
    assert f'python tools/make_scenes.py {scenes}' in note


def test_dry_run_prints_and_writes_nothing(tmp_path):
    command = [sys.executable, str(ROOT / 'tools/study.py')]
    config = ROOT / 'configs/studies/imagenet_coco_ade20k.py'
    command += [str(config), '--dry-run', '--work-dir', str(tmp_path / 'w')]
    command += ['--tasks', 'faster_rcnn', '--seeds', '1']
    text = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert not (tmp_path / 'w').exists()
    assert 'faster_rcnn/gcp-m/seed0  [to do]  after convert/gcp-m' in text
    assert 'tools/train.py' in text
    assert 'downloads/resnet50-isqrt.pth: official weights of gcp-d' in text
    assert 'Accelerator hours' in text
    assert 'assumed: ' in text


def test_a_study_that_lacks_something_does_not_start(tmp_path):
    command = [sys.executable, str(ROOT / 'tools/study.py')]
    command += [str(ROOT / 'configs/studies/imagenet_coco_ade20k.py')]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 1
    assert 'missing on this machine' in found.stderr
    assert 'Traceback' not in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_accelerator_hours_by_hand(tmp_path):
    from mmgcp.study.graph import accelerator_hours

    assumptions = {
        'device': 'x',
        'sustained_tflops': 1.0,
        'training_factor': 3.0,
        'gmacs': {'a': 100.0},
        'train_images': {'a': 1000},
    }
    step = Step('a', 'transfer', [], tmp_path / 'r', tmp_path)
    step.meta = {'task': 'a', 'max_epochs': 12, 'max_iters': None, 'batch_size': 2}
    lines = accelerator_hours({'assumptions': assumptions, 'file': ''}, [step], set())
    # 12 * 1000 images * 100e9 * 2 * 3 FLOPs / 1e12 per second = 7200 s
    assert '1 trainings x 2.0 h = 2 h' in '\n'.join(lines)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('seds = [1]', "unknown key 'seds'"),
        ('seeds = 3', 'seeds = 3 has the wrong type'),
        ('seeds = [1, 1]', 'must be different'),
        ("baseline = 'none'", "baseline = 'none' is not one of the encoders"),
        ('encoders = dict(a=dict())', 'encoders.a needs exactly one of'),
        (
            "encoders = dict(a=dict(pretrain='x', source='y'))",
            'it has pretrain, source',
        ),
        ("encoders = dict(a=dict(pretran='x'))", "unknown key 'pretran'"),
        ('tasks = dict()', 'tasks must name at least one'),
        ("tasks = dict(a=dict(config='x'))", "tasks.a needs 'metrics'"),
        ("analyses = ['lanscape']", "unknown analysis 'lanscape'"),
    ],
)
def test_wrong_keys_are_named(tmp_path, change, message):
    text = (
        "encoders = dict(a=dict(checkpoint='e.pth'))\n"
        "tasks = dict(t=dict(config='c.py', metrics={'m': 'M'}))\n"
    )
    file = write(tmp_path, text + change + '\n')
    with pytest.raises(StudyError, match=message.replace('(', r'\(')):
        load_study(file)


def test_wrong_names_on_the_command_line_are_named(study):
    with pytest.raises(StudyError, match='--encoders gapp: not in .* gap, isqrt'):
        select(study, encoders=['gapp'])
    with pytest.raises(StudyError, match='--seeds 0'):
        select(study, seeds=0)
    with pytest.raises(StudyError, match='unknown analysis'):
        select(study, analyses=['everything'])


def test_missing_files_are_named(tmp_path):
    with pytest.raises(StudyError, match='no such study'):
        load_study(tmp_path / 'nothing.py')
    file = write(
        tmp_path,
        "encoders = dict(a=dict(pretrain='configs/none.py'))\n"
        "tasks = dict(t=dict(config='c.py', metrics={'m': 'M'}))\n",
    )
    with pytest.raises(StudyError, match='configs/none.py: not found'):
        plan(load_study(file), tmp_path)


def test_merge_is_that_of_mmengine(tmp_path):
    base = {'a': {'x': 1, 'y': {'z': 2}}, 'b': None, 'c': [1, {'d': 1}]}
    changes = {
        'a': {'y': {'_delete_': True, 'w': 3}, 'new': {'k': 1}},
        'b': {'type': 'T'},
        'c': [2],
    }
    file = tmp_path / 'base.py'
    file.write_text('\n'.join(f'{key} = {value!r}' for key, value in base.items()))
    config = DerivedConfig(file).changed(changes)
    derived = tmp_path / 'sub/derived.py'
    derived.parent.mkdir()
    derived.write_text(config.text(derived.parent))
    assert Config.fromfile(derived).to_dict() == config.values
    assert config.values['a'] == {'x': 1, 'y': {'w': 3}, 'new': {'k': 1}}
    assert config.values['b'] == {'type': 'T'}
    assert base['a']['y'] == {'z': 2}
