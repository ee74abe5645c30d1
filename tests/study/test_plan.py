"""From a study file to the graph of its steps."""

import shlex
from pathlib import Path

import pytest
from mmengine.config import Config

from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.study.config import load_study, select
from mmgcp.study.derived_config import DerivedConfig
from mmgcp.study.graph import accelerator_hours, print_plan
from mmgcp.study.plan import Planner
from mmgcp.study.progress import plain_console
from mmgcp.study.run import run_study
from mmgcp.study.step import Step, StudyError, hash_steps, launched
from mmgcp.utils.errors import UserError

ROOT = Path(__file__).parents[2]
SCENES = ROOT / 'configs/studies/scenes.py'
FULL_SIZE = str(ROOT / 'configs/studies/imagenet_coco_ade20k.py')


def plan(study, folder):
    planner = Planner(study, Path(folder), ROOT)
    return planner.plan(), planner.missing


def planned(folder, text):
    """Steps and what is missing of a study written as text."""
    file = folder / 'study.py'
    file.write_text(text)
    return plan(load_study(file), folder / 'w')


@pytest.fixture
def study():
    return load_study(SCENES)


def test_graph_of_the_default_study(study, tmp_path):
    steps, missing = plan(study, tmp_path)
    assert missing == []
    assert steps[0].name == 'data'
    by_name = {step.name: step for step in steps}
    for encoder in study['encoders']:
        for task in study['tasks']:
            step = by_name[f'{task}/{encoder}/seed0']
            assert step.deps == [f'export/{encoder}/seed0']
            assert step.inputs == [by_name[step.deps[0]].result]
            assert step.result == step.work_dir / 'metrics.json'
        assert by_name[f'export/{encoder}/seed0'].deps == [f'pretrain/{encoder}/seed0']
    assert len({step.work_dir for step in steps}) == len(steps)
    assert by_name['costs/detection'].exclusive


def test_config_of_a_step_is_the_config_plus_the_encoder(study, tmp_path):
    step = next(
        s for s in plan(study, tmp_path)[0] if s.name == 'detection/isqrt/seed0'
    )
    [(file, text)] = step.files.items()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    made = Config.fromfile(file).to_dict()
    init = made['model']['backbone']['init_cfg']
    assert init['type'] == 'mmgcp.PretrainedEncoder'
    assert init['checkpoint'].endswith('export/isqrt/seed0/encoder.pth')
    assert '_delete_' not in init
    base = Config.fromfile(ROOT / step.meta['config']).to_dict()
    base['model']['backbone'].update(init_cfg=init, last_stage='maxpool')
    assert made == {**base, 'randomness': {'seed': 0}}
    # What the step's hash covers is what mmengine makes of the file.
    assert step.content == made


def test_batch_norms_are_estimated_in_the_form_of_the_task(study, tmp_path):
    steps = {step.name: step for step in plan(study, tmp_path)[0]}
    for encoder, form in (('gap', 'stride'), ('isqrt', 'maxpool')):
        line = shlex.join(steps[f'export/{encoder}/seed0'].command)
        config = steps[f'pretrain/{encoder}/seed0'].work_dir / 'config.py'
        assert f'--recalibrate 1024 --config {config}' in line
        assert line.endswith(f'--cfg-options model.backbone.last_stage={form}')
    full = load_study(FULL_SIZE, {'recalibrate': {'images': 8, 'config': None}})
    with pytest.raises(StudyError, match='recalibrate needs config'):
        plan(full, tmp_path)


def test_scores_of_frozen_features_are_asked_for(study, tmp_path):
    steps = {step.name: step for step in plan(study, tmp_path)[0]}
    assert '--scores' not in steps['features/gap/seed0'].command
    study['tasks']['features']['metrics'] = {'scores/LogME': 'LogME'}
    steps = {step.name: step for step in plan(study, tmp_path)[0]}
    step = steps['features/gap/seed0']
    assert '--scores' in step.command
    assert step.meta['metrics'] == ['scores/LogME']


def test_classifiers_on_their_training_images(tmp_path):
    steps, _ = plan(load_study('configs/studies/exponents.py'), tmp_path)
    assert not any(step.kind == 'export' for step in steps)
    by_name = {step.name: step for step in steps}
    step = by_name['train/log/seed2']
    assert step.deps == ['pretrain/log/seed2']
    [text] = step.files.values()
    dataset = step.content['test_dataloader']['dataset']
    assert dataset['data_prefix'] == 'train'
    assert dataset['test_mode']
    assert 'MatrixLogarithm' in text
    arms = {
        str(by_name[f'pretrain/{name}/seed0'].content['model']['neck'])
        for name in load_study('configs/studies/exponents.py')['encoders']
    }
    assert len(arms) == 13


def test_a_part_without_the_baseline_has_another_one(study):
    assert select(study, encoders=['isqrt', 'gap'])['baseline'] == 'gap'
    part = select(study, encoders=['isqrt', 'gap-native'])
    assert part['baseline'] == 'gap-native'  # the order is that of the study
    assert part['contrasts'] == [['isqrt', 'gap-native']]


def test_seeds_processes_and_selection(study, tmp_path):
    steps, _ = plan(select(study, seeds=3, nproc=2), tmp_path)
    trained = [step for step in steps if step.kind in ('pretrain', 'transfer')]
    arms, tasks = len(study['encoders']), len(study['tasks'])
    # The features of a frozen encoder need no training, pre-training is one.
    assert len({step.name for step in trained}) == 3 * arms * tasks
    for step in trained:
        assert step.content['randomness']['seed'] == step.meta['seed']
        batch = step.content['auto_scale_lr']['base_batch_size']
        assert step.meta['batch_size'] == batch
        assert step.content['train_dataloader']['batch_size'] == batch / 2
    line = shlex.join(launched(step.command, step.processes))
    assert '-m torch.distributed.run --standalone --nproc_per_node=2' in line
    assert line.endswith('--launcher pytorch')
    everything = hash_steps(plan(study, tmp_path)[0])
    part = hash_steps(plan(select(study, encoders=['isqrt'], seeds=1), tmp_path)[0])
    same = {name for name, value in part.items() if everything[name] == value}
    changed = {name.split('/')[0] for name in part if name not in same}
    assert changed == {'pictures', 'costs'}


@pytest.mark.parametrize(
    ('processes', 'scales', 'batch', 'recipe'),
    [
        (1, False, 16, 'total batch 16 (1 x 16), learning rate 0.02'),
        (8, False, 2, 'total batch 16 (8 x 2), learning rate 0.02'),
        # 0.02 * 32 / 16: 16 processes keep the 2 images of the config.
        (16, True, 2, 'total batch 32 (16 x 2), learning rate 0.04, scaled from 0.02'),
    ],
)
def test_total_batch_is_that_of_the_learning_rate(
    tmp_path, capsys, processes, scales, batch, recipe
):
    study = select(load_study(FULL_SIZE), seeds=1, nproc=processes)
    study['tasks'] = {'mask_rcnn': study['tasks']['mask_rcnn']}
    study['tasks']['mask_rcnn']['overrides'] = {'auto_scale_lr': {'enable': scales}}
    steps, _ = plan(study, tmp_path)
    trained = [step for step in steps if step.kind == 'transfer']
    for step in trained:
        assert step.content['train_dataloader']['batch_size'] == batch
        assert step.meta['recipe'] == recipe
    print_plan(study, steps, [], plain_console())
    assert capsys.readouterr().out.count(recipe) == len(trained)


@pytest.mark.parametrize(
    ('processes', 'overrides', 'message'),
    [
        (3, {}, 'total batch of 16, which 3 processes do not make'),
        (32, {}, 'total batch of 16, which 32 processes do not make'),
        (
            8,
            {'train_dataloader': {'batch_size': 4}},
            r'16, which 8 processes with train_dataloader.batch_size=4 do not make',
        ),
        (8, {'auto_scale_lr': {'_delete_': True, 'enable': True}}, 'no base_batch'),
    ],
)
def test_batches_that_do_not_fit_the_learning_rate(
    tmp_path, processes, overrides, message
):
    study = load_study(FULL_SIZE)
    study['tasks']['mask_rcnn'].update(nproc=processes, overrides=overrides)
    with pytest.raises(StudyError, match=f'mask-rcnn_r50-gap.*{message}'):
        plan(study, tmp_path)


def test_small_configs_stay_as_they_are_on_one_process():
    for file in sorted((ROOT / 'configs').glob('*/*_scenes.py')):
        config = DerivedConfig(file)
        assert config.on_processes(1) is config, file


def test_learning_rates_become_trainings(study, tmp_path):
    study['tasks']['detection']['lr'] = [0.01, 0.002]
    steps, _ = plan(study, tmp_path)
    by_name = {step.name: step for step in steps}
    for rate in (0.01, 0.002):
        step = by_name[f'detection/isqrt/seed0/lr{rate}']
        assert step.content['optim_wrapper']['optimizer']['lr'] == rate
    costs = shlex.join(by_name['costs/detection'].command)
    assert 'lr0.01/' in costs
    assert 'lr0.002' not in costs


def test_analyses_become_steps(study, tmp_path):
    steps, _ = plan(select(study, analyses=['all'], seeds=2), tmp_path)
    found = {step.name: step for step in steps if step.kind == 'analysis'}
    assert {'analysis/preconditioner/pretrain', 'analysis/spectrum/detection'} <= {
        *found
    }
    line = shlex.join(found['analysis/robustness/segmentation'].command)
    assert f'--labels {" ".join(study["encoders"])} --out' in line
    line = shlex.join(found['analysis/convergence/detection'].command)
    assert line.count('epoch_') == 2 * len(study['encoders'])
    line = shlex.join(found['analysis/bootstrap/detection'].command)
    assert line.count('epoch_') == 2 * len(study['encoders'])
    line = shlex.join(found['analysis/spectrum/detection'].command)
    assert line.count('epoch_') == len(study['encoders'])
    line = shlex.join(found['analysis/curvature/detection'].command)
    assert line.count('epoch_') == 2 * len(study['encoders'])
    assert line.endswith('--seeds --samples 4')


def test_what_bootstrap_cannot_do(study, tmp_path):
    study['tasks']['detection']['lr'] = [0.01, 0.002]
    steps, _ = plan(select(study, analyses=['bootstrap']), tmp_path)
    # Which of several rates is in the tables is not known before.
    assert 'analysis/bootstrap/detection' not in {step.name for step in steps}
    overrides = {'test_evaluator': {'type': 'CityscapesMetric'}}
    study['tasks']['segmentation']['overrides'] = overrides
    with pytest.raises(UserError, match='CityscapesMetric.*Leave bootstrap out'):
        plan(select(study, analyses=['bootstrap']), tmp_path)


def test_full_size_study_plans_and_says_what_is_missing(tmp_path):
    steps, missing = plan(load_study(FULL_SIZE), tmp_path)
    trained = [step for step in steps if step.kind == 'transfer']
    # Three tasks, six encoders, three seeds; two encoders have no published weights.
    assert len(trained) == 54
    assert len([step for step in steps if step.kind == 'pretrain']) == 6
    for name in ('resnet50-gap.pth', 'resnet50-isqrt.pth', 'resnet50-dropcov.pth'):
        assert name in '\n'.join(missing)
    backbones = {s.meta['encoder']: s.content['model']['backbone'] for s in trained}
    assert backbones['gcp-d']['last_stage'] == 'stride'
    assert backbones['gcp-m']['last_stage'] == 'maxpool'


def test_data_that_lack_an_image_are_missing(tmp_path, monkeypatch):
    scenes = tmp_path / 'scenes'
    sizes = dict(train=2, val=1, test=1, size=32, crops=1, eval_crops=1, digits=5)
    make_scenes(scenes, ScenesSpec(**sizes))
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    config = tmp_path / 'detector.py'
    base = ROOT / 'configs/detection/faster-rcnn_r18-w8_fpn_scenes.py'
    config.write_text(f'_base_ = {str(base)!r}\n')
    text = f"""
encoders = dict(a=dict(init_cfg=None), b=dict(init_cfg=None))
tasks = dict(boxes=dict(config={str(config)!r}, metrics={{'coco/bbox_mAP': 'AP'}}))
"""
    assert planned(tmp_path, text)[1] == []
    (scenes / 'detection/train/000001.png').unlink()
    [note] = planned(tmp_path, text)[1]
    assert 'CocoDataset: expected the 2 images' in note
    assert '1 missing, such as 000001.png' in note
    assert f'python tools/make_scenes.py {scenes}' in note


def test_encoder_files_are_looked_at_before_anything_trains(tmp_path):
    file = tmp_path / 'encoder.pth'
    text = f"""
_base_ = {str(SCENES)!r}
encoders = dict(_delete_=True, gap=dict(checkpoint={str(file)!r}))
contrasts = []
"""
    assert planned(tmp_path, text)[1] == [f'{file}: encoder file of gap']
    file.write_bytes(b'PK' + bytes(100))
    [note] = planned(tmp_path, text)[1]
    assert note.startswith(str(file))
    assert 'encoder file of gap' not in note


def test_dry_run_and_missing_files_leave_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_study(FULL_SIZE, ROOT, dry_run=True, tasks=['faster_rcnn'], seeds=1) == 0
    text = capsys.readouterr().out
    assert 'faster_rcnn/gcp-m/seed0  [to do]  after convert/gcp-m' in text
    assert 'downloads/resnet50-isqrt.pth: official weights of gcp-d' in text
    assert 'Accelerator hours' in text
    with pytest.raises(StudyError, match='missing on this machine'):
        run_study(FULL_SIZE, ROOT)
    assert list(tmp_path.iterdir()) == []


def test_accelerator_hours_by_hand(tmp_path):
    assumptions = {
        'device': 'x',
        'sustained_tflops': 1.0,
        'training_factor': 3.0,
        'gmacs': {'a': 100.0},
        'train_images': {'a': 1000},
    }
    step = Step('a', 'transfer', [], tmp_path / 'r', tmp_path)
    step.meta = {'task': 'a', 'max_epochs': 12, 'max_iters': None, 'batch_size': 2}
    study = {'assumptions': assumptions, 'file': 's.py'}
    # 12 * 1000 images * 100e9 * 2 * 3 FLOPs / 1e12 per second = 7200 s
    assert '1 trainings x 2.0 h = 2 h' in '\n'.join(
        accelerator_hours(study, [step], set())
    )
    del assumptions['gmacs']['a']
    with pytest.raises(StudyError, match=r"s\.py: assumptions lack 'a'"):
        accelerator_hours(study, [step], set())


SEGMENTOR = 'configs/segmentation/fpn_r18-w8_scenes.py'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            f"config='{SEGMENTOR}', metrics={{'mIuO': ''}}",
            "'mIuO'; .* gives aAcc, mIoU",
        ),
        (
            "config='configs/pretrain/resnet18-w8-gap_scenes.py', protocol='features', "
            "metrics={'knn': ''}",
            "unknown key 'knn'; .* gives knn/accuracy, knn/neighbors, logistic/accuracy",
        ),
    ],
)
def test_mistyped_metrics_are_named_before_anything_runs(tmp_path, text, message):
    text = f'encoders = dict(a=dict(init_cfg=None))\ntasks = dict(t=dict({text}))\n'
    with pytest.raises(StudyError, match=f'metrics of t: .*{message}'):
        planned(tmp_path, text)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('seds = [1]', "unknown key 'seds'"),
        ('seeds = 3', 'seeds = 3 has the wrong type'),
        ('encoders = 3', 'encoders = 3 has the wrong type'),
        ('seeds = [1, 1]', 'must be different'),
        ("baseline = 'none'", "baseline = 'none' is not one of the encoders"),
        ('encoders = dict(a=dict())', 'encoders.a needs exactly one of'),
        (
            "encoders = dict(a=dict(pretrain='x', source='y'))",
            'it has pretrain, source',
        ),
        ("encoders = dict(a=dict(pretran='x'))", "unknown key 'pretran'"),
        ("encoders = {'..': dict(init_cfg=None)}", 'cannot be a folder name'),
        ("encoders = dict(a=dict(pretrain='no.py'))", 'no.py: not found'),
        ('recalibrate = dict(image=3)', "unknown key 'image'"),
        (
            "tasks = dict(a=dict(config='x', metrics={'m': 'm'}, protocol='knn'))",
            "protocol = 'knn' is unknown",
        ),
        ('tasks = dict()', 'tasks must name at least one'),
        ("tasks = dict(a=dict(config='x'))", "tasks.a needs 'metrics'"),
        ('tasks = dict(a=None)', 'tasks.a = None must be a dict'),
        ("primary = ['t/n']", "primary: unknown end-point 't/n'; known: t/m, t/conv"),
        ('margin = -1', 'margin = -1 must be a positive number'),
        ("margin = {'t/m': 0}", 'margin = 0 must be a positive number'),
        ("margin = {'t/m': '+-1'}", "margin = '\\+-1' must be a positive number"),
        ("margin = {'t': 1}", "margin: unknown end-point 't'"),
        ("comparison = 'pair'", "comparison: unknown kind 'pair'; known: paired, w"),
        ("contrasts = [['a', 'b']]", "contrasts: unknown encoder 'b'"),
        ("contrasts = [['a', 'a']]", 'must name two encoders'),
        (
            "tasks = dict(t=dict(config='c.py', metrics={'m': 'M'}, lr=[]))",
            r't\.lr = \[\]',
        ),
        ("analyses = ['lanscape']", "unknown analysis 'lanscape'"),
        ('analysis_options = dict(lanscape=[])', "unknown analysis 'lanscape'"),
        ("data = dict(comand=['x'])", "data: unknown key 'comand'"),
        ("data = dict(result='x')", 'data needs command and result'),
        (
            "tasks = dict(t=dict(config='c.py', metrics={'m': 'M'}, encoders=['b']))",
            "tasks.t: unknown encoder 'b'; known: a",
        ),
        # Its steps would have the names of others.
        (
            "tasks = dict(export=dict(config='c.py', metrics={'m': 'M'}))",
            "tasks: 'export' is a kind of step",
        ),
    ],
)
def test_wrong_keys_are_named(tmp_path, change, message):
    text = (
        "encoders = dict(a=dict(checkpoint='e.pth'))\n"
        "tasks = dict(t=dict(config='c.py', metrics={'m': 'M'}))\n"
    )
    with pytest.raises(StudyError, match=message.replace('(', r'\(')):
        planned(tmp_path, text + change + '\n')


def test_studies_share_no_defaults(tmp_path):
    file = tmp_path / 'study.py'
    file.write_text(
        'encoders = dict(a=dict(init_cfg=None))\n'
        "tasks = dict(t=dict(config='c.py', metrics={'m': 'M'}))\n"
    )
    load_study(file)['analysis_options']['curvature'] = ['--seeds']
    assert load_study(file)['analysis_options'] == {}


def test_wrong_names_on_the_command_line_are_named(study, tmp_path):
    with pytest.raises(StudyError, match="unknown .* 'gapp'; known: gap, "):
        select(study, encoders=['gapp'])
    with pytest.raises(StudyError, match='--seeds 0'):
        select(study, seeds=0)
    with pytest.raises(StudyError, match='unknown analysis'):
        select(study, analyses=['everything'])
    with pytest.raises(UserError, match='no such config'):
        load_study(tmp_path / 'nothing.py')


def test_derived_config_merges_like_mmengine(tmp_path):
    base = {'a': {'x': 1, 'y': {'z': 2}}, 'b': None, 'c': [1, {'d': 1}]}
    file = tmp_path / 'base.py'
    file.write_text('\n'.join(f'{key} = {value!r}' for key, value in base.items()))
    config = DerivedConfig(file)
    for changes in (
        {'a': {'y': {'_delete_': True, 'v': 3}, 'new': {'_delete_': True, 'k': 1}}},
        {'b': {'type': 'T'}, 'c': [2], 'a': {'y': {'w': 4}}},
    ):
        config = config.changed(changes)
    derived = tmp_path / 'sub/derived.py'
    derived.parent.mkdir()
    derived.write_text(config.text(derived.parent))
    assert Config.fromfile(derived).to_dict() == config.values
    assert config.values['a'] == {'x': 1, 'y': {'v': 3, 'w': 4}, 'new': {'k': 1}}
    assert config.values['b'] == {'type': 'T'}
