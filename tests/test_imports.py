"""Imports go down the tiers, without a circle, and look-ups import what they must."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmgcp'
#: Lowest first. Parts of a tier may import each other as long as there is no circle.
TIERS = (
    {'version', 'registry', 'layers', 'utils'},
    {'models'},
    {'weights', 'datasets', 'engine'},
    {'analysis', 'visualization', 'export'},
    {'study'},
)
TIER = {part: number for number, parts in enumerate(TIERS) for part in parts}


def imported_parts(path):
    """Parts of mmgcp that a file imports anywhere, type checking included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            # `from ..x import y` counts levels from the package of the file.
            package = path.relative_to(PACKAGE.parent).parts[:-1]
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*above, *filter(None, [node.module])])
            names = [f'{module}.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split('.')
            if parts[0] == 'mmgcp' and len(parts) > 1 and parts[1] in TIER:
                yield parts[1]


def graph():
    found = {}
    for path in PACKAGE.rglob('*.py'):
        part = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
        if part in TIER:
            found.setdefault(part, set()).update(set(imported_parts(path)) - {part})
    return found


def test_every_part_has_a_tier():
    parts = {
        path.stem for path in PACKAGE.iterdir() if not path.name.startswith(('_', '.'))
    }
    assert parts == set(TIER)


def test_imports_go_down():
    for part, imported in graph().items():
        up = {name for name in imported if TIER[name] > TIER[part]}
        assert not up, f'{part} imports {sorted(up)}'
    graphlib.TopologicalSorter(graph()).prepare()  # raises at a circle


def modules_after(code):
    out = subprocess.run(
        [sys.executable, '-c', f'{code}\nimport sys; print(*sys.modules)'],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(out.stdout.split())


def test_layers_import_torch_alone():
    found = {name.split('.')[0] for name in modules_after('import mmgcp.layers')}
    assert not found & {'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'scipy'}


@pytest.mark.parametrize(
    ('names', 'parts'),
    [
        (dict(MODELS='GCPResNet'), {'models', 'layers', 'utils'}),
        (dict(WEIGHT_INITIALIZERS='PretrainedEncoder'), {'weights', 'utils'}),
        (
            dict(HOOKS='EpochSeedHook', PARAM_SCHEDULERS='PolynomialLR'),
            {'engine', 'utils'},
        ),
        (dict(TRANSFORMS='Corrupt', DATASETS='ImageNetP'), {'datasets', 'utils'}),
    ],
    ids=['models', 'weights', 'engine', 'datasets'],
)
def test_a_look_up_imports_what_it_must(names, parts):
    lines = ['from mmengine import registry']
    lines += [f'assert registry.{key}.get("mmgcp.{names[key]}")' for key in names]
    found = modules_after('\n'.join(lines))
    ours = {module.split('.')[1] for module in found if module.startswith('mmgcp.')}
    assert ours & set(TIER) <= parts | {'registry', 'version'}
    assert not found & {'mmgcp.weights.convert', 'mmgcp.datasets.scenes', 'sklearn'}
