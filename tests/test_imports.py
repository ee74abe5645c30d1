"""Imports run one way, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmgcp'
#: What each part may import of the package besides itself.
ALLOWED = {
    'layers': set(),
    'utils': {'registry', 'version', 'datasets'},
    'models': {'layers', 'registry', 'utils'},
    'weights': {'layers', 'models', 'registry', 'utils', 'version'},
    'datasets': {'layers', 'models', 'registry', 'utils', 'version'},
}


def imported_parts(path):
    """Sub-packages of mmgcp that a file imports anywhere in it."""
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
            if parts[0] == 'mmgcp' and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize('part', sorted(ALLOWED))
def test_imports_run_one_way(part):
    for path in sorted((PACKAGE / part).rglob('*.py')):
        up = set(imported_parts(path)) - ALLOWED[part] - {part, '__version__'}
        assert not up, f'{path.relative_to(PACKAGE)} imports {sorted(up)}'


@pytest.mark.parametrize('part', ['study', 'analysis'])
def test_nothing_below_imports_the_top(part):
    for below in ALLOWED:
        for path in (PACKAGE / below).rglob('*.py'):
            assert part not in set(imported_parts(path)), path


def test_layers_import_torch_alone():
    foreign = ['mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'scipy', 'sklearn']
    code = (
        'import sys, mmgcp.layers; '
        f'print([name for name in {foreign!r} if name in sys.modules])'
    )
    out = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == '[]'
