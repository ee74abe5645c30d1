"""CUDA operators compile without a GPU, where a compiler is installed.

The compiler is that of the CUDA toolkit. In its place, these packages of one release:
``nvidia-cuda-nvcc``, ``nvidia-nvvm`` and ``nvidia-cuda-{crt,cccl,runtime}``.
"""

import glob
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from torch.utils import cpp_extension

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        'MMGCP_TEST_NVCC' not in os.environ,
        reason='compiles CUDA for half a minute: set MMGCP_TEST_NVCC=1',
    ),
]


def find_nvcc():
    packages = Path(sysconfig.get_paths()['purelib'], 'nvidia')
    found = glob.glob(str(packages / '*/bin/nvcc'))
    return shutil.which('nvcc') or (found[0] if found else None)


def test_an_operator_of_mmcv_compiles_for_a_gpu(tmp_path):
    ops = pytest.importorskip('mmcv.ops')
    sources = Path(ops.__file__).parent / 'csrc'
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip('no CUDA compiler (nvcc): install the packages named above')
    paths = sysconfig.get_paths()
    # The compiler's own headers first, then those that torch was installed with.
    folders = [Path(nvcc).resolve().parents[1] / 'include']
    folders += [*cpp_extension.include_paths(), paths['include']]
    folders += [sources / name for name in ('common', 'common/cuda', 'pytorch')]
    libraries = glob.glob(os.path.join(paths['purelib'], 'nvidia/*/include'))
    folders += [path for path in libraries if 'cuda_runtime' not in path]
    if not any(Path(path, 'cusparse.h').exists() for path in folders):
        pytest.skip('no headers of the CUDA libraries: torch is a CPU build')
    result = tmp_path / 'nms.o'
    subprocess.run(
        [
            *(nvcc, '-std=c++17', '-arch=sm_80', '-DMMCV_WITH_CUDA'),
            *('--expt-relaxed-constexpr', '-D__CUDA_NO_HALF_OPERATORS__'),
            *(f'-I{path}' for path in folders),
            *('-c', sources / 'pytorch/cuda/nms_cuda.cu', '-o', result),
        ],
        check=True,
    )
    assert b'nms_cuda' in result.read_bytes()
