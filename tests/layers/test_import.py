import subprocess
import sys


def test_layers_import_little_beyond_torch():
    code = (
        'import time, torch, sys; before = set(sys.modules); t = time.process_time();'
        'import mmgcp.layers; spent = time.process_time() - t;'
        'print(spent, *sorted(set(sys.modules) - before))'
    )
    out = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(out[0]) < 0.5
    outsiders = [m for m in out[1:] if m.split('.')[0] not in ('mmgcp', 'torch')]
    assert not [m for m in outsiders if m in ('mmengine', 'mmcv', 'scipy', 'sympy')]
