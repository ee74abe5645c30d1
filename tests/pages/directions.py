"""How each command of the pages is run here, and which are not.

A page says what a reader with GPUs and whole data sets does. Placeholders become
names of files, numbers become smaller, and what takes hours is asked for its plan.
"""

import sys

from . import material

# Commands that are not run, and why.
LEFT_OUT = {
    'pip install -e .': 'needs a package index; test_installed.py builds and installs',
    'pip install ./mmgcp': 'needs a package index; test_installed.py installs the wheel',
    'pip install "mmgcp[export]"': 'needs a package index',
    'pip install -e ".[onedl,study]"': 'needs a package index',
    'pip install torch==2.10.0 torchvision==0.25.0 "setuptools<82" wheel ninja': (
        'needs a package index'
    ),
    'MMCV_WITH_OPS=1 pip install --no-build-isolation onedl-mmcv==2.3.6': (
        'needs a package index and compiles for a quarter of an hour'
    ),
    'MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir '
    'onedl-mmcv==2.3.6': 'needs a package index and compiles for a quarter of an hour',
    'pip uninstall --yes onedl-mmcv': 'would take mmcv from the tests that run beside',
    'pip install "setuptools<82"': 'needs a package index',
    'pip install ftfy regex': 'needs a package index',
    'pip install "numpy<2"': 'needs a package index',
    'pip install "numpy>=1.26,<2"': 'needs a package index',
    'mim train mmgcp faster-rcnn_r50-gcp-m_fpn_1x_coco.py': (
        'mim is no dependency; test_metafiles.py looks up the names that it looks up'
    ),
    'make test': 'these tests',
    'make test STACK=openmmlab': 'these tests, in an environment of the other stack',
    'make lint': 'a job of its own in CI: ruff and mypy come with the extra dev',
    'make docs': 'a job of its own in CI: sphinx comes with the extra dev',
    'GPUS=16 tools/slurm_train.sh PARTITION JOB CONFIG': (
        'needs a Slurm; tests/slurm runs it on one'
    ),
    'GPUS=8 tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT --out metrics.json': (
        'needs a Slurm; tests/slurm runs it on one'
    ),
    'python tools/benchmark.py pooling --device cuda --rounds 50': 'needs a GPU',
    'python tools/benchmark.py pooling --device cuda --rounds 50 --tf32': 'needs a GPU',
    'python tools/benchmark.py pooling --device cuda --rounds 50 --compile': (
        'needs a GPU'
    ),
    'python tools/benchmark.py encoders --device cuda --depth 50 --batch 64 '
    '--also channels_last': 'needs a GPU',
}

# By page (`*`: all): pattern, what takes its place. Applied in this order.
CHANGES: dict[str, list[tuple[str, str]]] = {
    '*': [
        # Hours of training become the plan of it; tests/study runs a small study.
        (r'^make study$', 'make study ARGS="--dry-run"'),
        (r'^make study ARGS="(?!--dry-run)', 'make study ARGS="--dry-run '),
        (r'^make test ARGS="', 'make test ARGS="--collect-only -q -n 0 '),
        (
            r'^make test VENV=\S+',
            'make test ARGS="-n 0 tests/test_imports.py"',
        ),
        # Set-up would install; tests/tools/test_setup_env.py is about it.
        (r'^make (study|test)', rf'make -o setup \1 VENV={sys.prefix}'),
        (r'(study\.py configs/studies/\w+\.py)(?!.*--dry-run)', r'\1 --dry-run'),
        # The data sets here have a few images.
        (r'(check_data\.py \w+ \S+)', r'\1 --any-size'),
    ],
    'analyses.md': [
        (r'NAME', 'complexity'),
        (r'CONFIG', material.GAP),
        (r'CHECKPOINT', 'trained.pth'),
        (r' a\.pth (.*) b\.pth', r' before.pth \1 after.pth'),
        (r'DIR', 'out'),
        (r'nproc-per-node 2', 'nproc-per-node 1'),
        (r'(landscape\.py .*\.pth.*)', r'\1 --images 4 --steps 0.1 75 3'),
        (
            r'--images 256 --lanczos-steps 40 --probes 50',
            '--images 4 --lanczos-steps 2 --probes 2 --points 3 --grid 2 --radii 0.01',
        ),
        (r'--heads gap isqrt mpn', '--heads gap isqrt mpn --images 8'),
        (r'(spectrum.py .*)', r'\1 --images 4'),
        (
            r'--out out --images 0',
            '--out out --images 0 --severities 1 --corruptions contrast',
        ),
        (r'--shape 224 224', '--shape 48 48'),
    ],
    'detection.md': [
        (r'^--cfg', rf'python tools/train.py {material.MASK_RCNN} --cfg'),
        (r'FILE', 'another.pth'),
        (r'max_epochs=120(.*)end=120(.*)"\[80,110\]"', r'max_epochs=2\1end=2\2"[1]"'),
        (r'(dist_train\.sh \S+) 8', r'\1 1'),
    ],
    'distributed.md': [
        (r'^--cfg', rf'python tools/train.py {material.ISQRT} --cfg'),
        (r'CONFIG', material.ISQRT),
        (r'CHECKPOINT', 'trained.pth'),
        # Two processes where the page is about that, for they import the stack anew.
        (r'(_coco\.py (?:trained.pth )?)8', r'\g<1>1'),
        (r'nproc-per-node 8', 'nproc-per-node 1'),
        (r'NNODES=2 (.*)=HOST PORT=29500 (.*) 8', r'NNODES=1 \1=127.0.0.1 \2 1'),
        (r'(dist_train.sh \S+) 4', r'\1 1'),
        (r'8 (--override fsdp)', r'1 \1'),
        (r'batch_size=4', 'batch_size=2'),
    ],
    'existing_project.md': [(r'CONFIG', material.ISQRT)],
    'model_zoo.md': [
        (
            r'^--cfg',
            'python tools/test.py configs/pretrain/resnet18-isqrt_8xb32-lrnorm_in1k.py '
            'source-128.pth --cfg',
        ),
        (r'SRC (\S+sovit)', r'transformer.pth \1'),
        (r'SRC', 'source.pth'),
        (r'NAME', 'resnet18'),
        (r'CONFIG\.py', 'resnet18-dropcov_8xb32-lrnorm_in1k.py'),
    ],
    'performance.md': [
        (r'^tools', 'python tools'),
        (r'CONFIG CHECKPOINT', f'{material.SEM_FPN} segmenter.pth'),
        (r'$', ' --rounds 1 --threads 1'),
        (r'^((?!.* testing ).*)', r'\1 --warmup 0 --no-memory'),
        (r'(pooling .*)', r'\1 --shape 2 16 4 4'),
        (r'--depth 50', '--depth 18'),
        # It builds C++ for a minute.
        (r' fused onednn compile', ' fused onednn'),
        (r'work_dirs/\S+/detection/\S+ \S+', f'{material.DETECTOR} detector.pth'),
        (r'work_dirs/\S+/segmentation/\S+ \S+', f'{material.SEM_FPN} segmenter.pth'),
        (r'(--config configs/pretrain/resnet50\S+ .*)', r'\1 --size 48'),
        (r'(encoders .*)', r'\1 --batch 2 --size 48'),
        (
            r'((?:pretrain-step|transfer-step|evaluation|throughput) .*)',
            r'\1 --batch 2',
        ),
    ],
    'pretrain.md': [(r'NAME', 'resnet50'), (r'(dist_train\.sh \S+) 8', r'\1 1')],
    'scenes.md': [
        (
            r'make_scenes.py data/scenes',
            'make_scenes.py data/scenes --train 2 --val 1 --test 1 --size 64 --crops 1 '
            '--eval-crops 1 --digits 5',
        )
    ],
    'segmentation.md': [
        (r'^--cfg', rf'python tools/train.py {material.UPERNET} --cfg'),
        (r'(dist_train\.sh \S+) 4', r'\1 1'),
    ],
    'studies.md': [
        (
            r'^--cfg-options KEY=VALUE',
            'python tools/study.py configs/studies/scenes.py --dry-run '
            '--cfg-options seeds=[1]',
        )
    ],
}

# By page: Python before the first piece, such as the runs whose logs are compared.
BEFORE = {
    'analyses.md': f"""
import shutil
from mmgcp.engine.runner import train
train('{material.GAP}', 'work_dirs/gap_0', cfg_options={{'train_cfg.max_epochs': 2}})
for name in ('gap_1', 'gcp_0', 'gcp_1'):
    shutil.copytree('work_dirs/gap_0', f'work_dirs/{{name}}')
"""
}

BUILD = """
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
init_default_scope('mmdet')
"""
# By page, for each Python block in turn: the names that it takes as given, and what
# is done with the names it makes. Blocks that do something have no more to be done.
BLOCKS: dict[str, list[tuple[dict, str]]] = {
    'README.md': [
        ({}, BUILD + "MODELS.build({**model['backbone'], 'depth': 50}).init_weights()")
    ],
    'analyses.md': [
        (
            {},
            f"""
from mmgcp.engine.runner import train
custom_hooks[0].update(interval=1, steps=(0.1, 75, 3))
for name in ('gap', 'gcp'):
    train('{material.GAP}', f'work_dirs/{{name}}', cfg_options={{
        'custom_hooks': custom_hooks, 'train_dataloader.dataset.indices': 4}})
""",
        )
    ],
    'convert.md': [
        (
            {},
            BUILD + "encoder = dict(type='mmgcp.GCPResNet', depth=50)\n"
            'MODELS.build({**encoder, "init_cfg": init_cfg}).init_weights()',
        )
    ],
    'existing_project.md': [
        ({}, "assert __import__('os').path.getsize('outputs/vis/image.jpg')"),
        ({}, "assert __import__('os').path.getsize('outputs/vis/image.jpg')"),
        ({}, ''),
        (
            {},
            BUILD
            + """
encoder = MODELS.build(dict(type='my_project.MyEncoder', depth=18, init_cfg=None))
assert any(kind.__module__.startswith('mmdet') for kind in type(encoder).__mro__)
assert len(encoder(__import__('torch').zeros(1, 3, 64, 64))) == 4
""",
        ),
    ],
    'export.md': [({}, 'assert logits.shape == (1, 10), logits.shape')],
    'model_zoo.md': [
        (
            {},
            BUILD
            + f"""
config = Config.fromfile('{material.MASK_RCNN}')
config.merge_from_dict(dict(model=model))
config.model.backbone.init_cfg = None
detector = MODELS.build(config.model)
assert type(detector.roi_head.bbox_head.bbox_coder).__name__.startswith('Legacy')
""",
        )
    ],
    'predict.md': [
        (
            {'CONFIG': material.SEGMENTER, 'CHECKPOINT': 'work_dirs/seg/epoch_12.pth'},
            "assert __import__('os').path.getsize('out.png')",
        )
    ],
    'studies.md': [
        (
            {},
            """
import runpy, sys
open('mine.py', 'w').write(page_text)
sys.argv = ['tools/study.py', 'mine.py', '--dry-run']
runpy.run_path(sys.argv[0], run_name='__main__')
""",
        )
    ],
}
