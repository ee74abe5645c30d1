"""A study whose trainings are tiny Python commands with known results."""

import json
import textwrap

from mmgcp.study.step import Step

TRAIN = textwrap.dedent("""
    import json, pathlib, sys
    folder, level = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    logs = folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / 'scalars.json', 'w') as file:
        for step in range(1, 4):
            train = {'loss': 1 / step, 'time': 0.5, 'epoch': step, 'step': 10 * step}
            file.write(json.dumps(train) + '\\n')
            file.write(json.dumps({'mIoU': level * step / 3, 'step': step}) + '\\n')
    (folder / 'epoch_3.pth').write_text(str(level))
""")
TEST = textwrap.dedent("""
    import json, pathlib, sys
    checkpoint, out = map(pathlib.Path, sys.argv[1:])
    out.write_text(json.dumps({'mIoU': float(checkpoint.read_text())}))
""")
#: mIoU by encoder and seed.
VALUES = {
    'gap': {0: 10.0, 1: 10.0, 2: 10.0},
    'isqrt': {0: 11.0, 1: 12.0, 2: 13.0},
    'dropcov': {0: 14.0, 1: 14.1, 2: 13.9},
}


def fake_study(seeds=(0, 1, 2)):
    return {
        'name': 'fake',
        'title': 'A study <of> numbers',
        'file': 'fake.py',
        'baseline': 'gap',
        'seeds': list(seeds),
        'encoders': {name: {'label': name.upper()} for name in VALUES},
        'tasks': {
            'segmentation': {'label': 'segmentation', 'metrics': {'mIoU': 'mIoU (%)'}}
        },
        'reference_tables': [
            {
                'title': 'Published',
                'source': 'a paper',
                'head': ['x', 'AP'],
                'rows': [['R50', 1]],
            }
        ],
    }


def fake_steps(folder, seeds=(0, 1, 2), train=TRAIN):
    steps = []
    for seed in seeds:
        for name in VALUES:
            meta = {'task': 'segmentation', 'encoder': name, 'seed': seed}
            train_name = f'segmentation/{name}/seed{seed}'
            work_dir = folder / 'steps' / train_name
            level = str(VALUES[name][seed])
            steps.append(
                Step(
                    name=train_name,
                    kind='transfer',
                    command=['python', '-c', train, str(work_dir), level],
                    result=work_dir / 'epoch_3.pth',
                    work_dir=work_dir,
                    meta={**meta, 'config': 'fake_config.py', 'batch_size': 4},
                )
            )
            test_dir = folder / 'steps' / f'segmentation-test/{name}/seed{seed}'
            files = [str(work_dir / 'epoch_3.pth'), str(test_dir / 'metrics.json')]
            steps.append(
                Step(
                    name=f'segmentation-test/{name}/seed{seed}',
                    kind='evaluate',
                    command=['python', '-c', TEST, *files],
                    result=test_dir / 'metrics.json',
                    work_dir=test_dir,
                    deps=[train_name],
                    inputs=[work_dir / 'epoch_3.pth'],
                    meta={**meta, 'config': 'fake_config.py'},
                )
            )
    return steps


def add_pictures(steps, folder):
    """A step whose picture is really a PNG, for the gallery."""
    work_dir = folder / 'steps/pictures/segmentation'
    code = textwrap.dedent("""
        import json, pathlib, sys
        from PIL import Image
        folder = pathlib.Path(sys.argv[1])
        names = ['truth', 'gap', 'isqrt', 'dropcov']
        for index, name in enumerate(names):
            Image.new('RGB', (40, 30), (60 * index, 90, 120)).save(folder / f'{name}.png')
        sample = {'image': 'a.png', 'truth': 'truth.png'}
        sample['predictions'] = {name: f'{name}.png' for name in names[1:]}
        models = {name: {} for name in names[1:]}
        content = {'samples': [sample], 'models': models}
        (folder / 'pictures.json').write_text(json.dumps(content))
    """)
    return [
        *steps,
        Step(
            name='pictures/segmentation',
            kind='pictures',
            command=['python', '-c', code, str(work_dir)],
            result=work_dir / 'pictures.json',
            work_dir=work_dir,
            deps=[step.name for step in steps if step.kind == 'transfer'],
            meta={'task': 'segmentation'},
        ),
    ]


def add_analysis(steps, folder):
    """A step that leaves what an analysis leaves: a JSON and a PNG."""
    work_dir = folder / 'steps/analysis/spectrum/segmentation'
    code = textwrap.dedent("""
        import json, pathlib, sys
        from PIL import Image
        folder = pathlib.Path(sys.argv[1])
        Image.new('RGB', (40, 30), (9, 9, 9)).save(folder / 'spectrum.png')
        (folder / 'spectrum.json').write_text(json.dumps({'rank': 7.5}))
    """)
    return [
        *steps,
        Step(
            name='analysis/spectrum/segmentation',
            kind='analysis',
            command=['python', '-c', code, str(work_dir)],
            result=work_dir / 'spectrum.json',
            work_dir=work_dir,
            deps=[step.name for step in steps if step.kind == 'transfer'],
            meta={'task': 'segmentation', 'analysis': 'spectrum'},
        ),
    ]


def without_times(report):
    """What a report must not change when the study was killed in between."""
    kept = {key: report[key] for key in ('study', 'results', 'curves', 'pictures')}
    kept['steps'] = [
        {
            key: step[key]
            for key in ('name', 'state', 'command', 'result_sha256', 'inputs')
        }
        for step in report['steps']
    ]
    return json.loads(json.dumps(kept))
