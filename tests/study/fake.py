"""A study whose steps are tiny Python commands with known results."""

import io
import itertools
import textwrap

from mmgcp.study.local import LocalBackend
from mmgcp.study.progress import Display, plain_console
from mmgcp.study.scheduler import Scheduler
from mmgcp.study.step import Step

TRAIN = textwrap.dedent("""
    import json, pathlib, sys
    folder, level, tested = pathlib.Path(sys.argv[1]), *map(float, sys.argv[2:])
    logs = folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / 'scalars.json', 'w') as file:
        for step in range(1, 4):
            train = {'loss': 1 / step, 'time': 0.5, 'epoch': step, 'step': 10 * step}
            file.write(json.dumps(train) + '\\n')
            file.write(json.dumps({'mIoU': level * step / 3, 'step': step}) + '\\n')
    (folder / 'epoch_3.pth').write_text(str(tested))
    (folder / 'metrics.json').write_text(json.dumps({'mIoU': tested}))
""")
PICTURES = textwrap.dedent("""
    import json, pathlib, sys
    from PIL import Image
    folder, names = pathlib.Path(sys.argv[1]), ['truth', 'gap', 'isqrt', 'dropcov']
    for index, name in enumerate(names):
        Image.new('RGB', (40, 30), (60 * index, 90, 120)).save(folder / f'{name}.png')
    sample = {'image': 'a.png', 'truth': 'truth.png'}
    sample['predictions'] = {name: f'{name}.png' for name in names[1:]}
    content = {'samples': [sample], 'models': {name: {} for name in names[1:]}}
    (folder / 'pictures.json').write_text(json.dumps(content))
""")
ANALYSIS = textwrap.dedent("""
    import json, pathlib, sys
    from PIL import Image
    folder = pathlib.Path(sys.argv[1])
    Image.new('RGB', (40, 30), (9, 9, 9)).save(folder / 'spectrum.png')
    (folder / 'spectrum.json').write_text(json.dumps({'rank': 7.5}))
""")
#: mIoU by encoder and seed.
VALUES = {
    'gap': {0: 10.0, 1: 10.0, 2: 10.0},
    'isqrt': {0: 11.0, 1: 12.0, 2: 13.0},
    'dropcov': {0: 14.0, 1: 14.1, 2: 13.9},
}


def fake_study(seeds=(0, 1, 2)):
    tasks = {'segmentation': {'label': 'segmentation', 'metrics': {'mIoU': 'mIoU (%)'}}}
    published = dict(title='Published', source='a paper', head=['x', 'AP'])
    return {
        'name': 'fake',
        'title': 'A study <of> numbers',
        'file': 'fake.py',
        'hash': 'ab' * 32,
        'baseline': 'gap',
        'seeds': list(seeds),
        'primary': ['segmentation/mIoU'],
        'margin': {'segmentation/mIoU': 5},
        'comparison': 'paired',
        'contrasts': [],
        'data': {},
        'nproc': 1,
        'options': {},
        'encoders': {name: {'label': name.upper()} for name in VALUES},
        'tasks': tasks,
        'reference_tables': [{**published, 'rows': [['R50', 1]]}],
    }


def fake_step(folder, name, kind, code, result, *arguments, deps=(), **settings):
    """A step that runs Python code with its work folder and more as arguments."""
    work_dir = folder / 'steps' / name
    command = ['python', '-c', code, str(work_dir), *map(str, arguments)]
    return Step(
        name, kind, command, work_dir / result, work_dir, list(deps), **settings
    )


def fake_steps(folder, seeds=(0, 1, 2), rates=(None,), task='segmentation'):
    """With rates, the better one on validation data is the worse one on test data."""
    steps = []
    for seed, (name, values), rate in itertools.product(seeds, VALUES.items(), rates):
        meta = {'task': task, 'encoder': name, 'seed': seed}
        meta |= {'config': 'fake_config.py', 'batch_size': 4, 'max_epochs': 3}
        meta |= {'recipe': 'total batch 4 (1 x 4), learning rate 0.1'}
        meta['metrics'] = ['mIoU']
        name, factor = f'{task}/{name}/seed{seed}', 1
        if rate is not None:
            meta['lr'], name, factor = rate, f'{name}/lr{rate}', rate
        train = (name, 'transfer', TRAIN, 'metrics.json')
        levels = values[seed] * factor, values[seed] / factor
        weights = folder / 'steps' / name / 'epoch_3.pth'
        steps.append(fake_step(folder, *train, *levels, meta=meta, weights=weights))
    return steps


def more_steps(steps, folder):
    """The same with steps that leave real pictures."""
    after = dict(deps=[s.name for s in steps], inputs=[s.weights for s in steps])
    meta = {'task': 'segmentation', 'analysis': 'spectrum'}
    pictures = ('pictures/segmentation', 'pictures', PICTURES, 'pictures.json')
    name = 'analysis/spectrum/segmentation'
    analysis = (name, 'analysis', ANALYSIS, 'spectrum.json')
    return [
        *steps,
        *(
            fake_step(folder, *each, meta=meta, **after)
            for each in (pictures, analysis)
        ),
    ]


def run_steps(steps, folder, jobs=2, retries=0):
    """Final states and what was printed."""
    console = plain_console(file=io.StringIO())
    backend = LocalBackend(jobs, folder, cpus=2)
    backend.poll_seconds = 0.01
    state = Scheduler(steps, backend, Display(steps, jobs, console), retries).run()
    return state, console.file.getvalue()
