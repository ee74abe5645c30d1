#!/usr/bin/env python3
"""Set up a virtual environment with one of the two supported stacks.

    python3 tools/setup_env.py [--stack onedl|openmmlab] [--venv DIR]

Creates the environment, installs torch, compiles mmcv's operators once into a cache
outside the checkout, installs everything else. Silent and quick when nothing is to be
done; interrupted, it goes on where it stopped. An environment that this script did not
make (``--venv`` of your own) is checked and completed, never given another torch or
another OpenMMLab.

Only the standard library is used, and any Python 3.8 or newer can run it: the
interpreter of the environment is looked up, not assumed.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACKS = {
    'onedl': dict(
        pythons=((3, 12), (3, 11), (3, 10)),
        torch='2.10.0',
        torchvision='0.25.0',
        mmcv=('onedl-mmcv', '2.3.6'),
        setuptools='setuptools<82',
        numpy='numpy>=2,<3',
    ),
    'openmmlab': dict(
        pythons=((3, 10),),
        torch='2.1.2',
        torchvision='0.16.2',
        mmcv=('mmcv', '2.1.0'),
        setuptools='setuptools<70',
        numpy='numpy<2',
    ),
}
MODULES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
# C++17 is the newest standard that any mmcv release asks its compiler for.
TORCH_TOO_NEW = (2, 14)


class SetupError(Exception):
    """What is wrong and the way out, as one paragraph."""


def say(text):
    print(f'[setup] {text}', flush=True)


def run(command, **kwargs):
    """Run a command; show what it printed only when it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **kwargs,
    )
    if done.returncode:
        tail = '\n'.join(done.stdout.splitlines()[-30:])
        shown = ' '.join(str(part) for part in command)
        raise SetupError(f'This command failed:\n  {shown}\n{tail}')
    return done.stdout


def python_version(executable):
    """(major, minor) of an interpreter that runs and can make environments."""
    code = 'import sys, venv, ensurepip; print(*sys.version_info[:2])'
    try:
        out = subprocess.run(
            [str(executable), '-c', code], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, out.stdout.split())) if out.returncode == 0 else None


def find_python(stack, wanted=None):
    """An interpreter that the stack supports, the running one first."""
    supported = STACKS[stack]['pythons']
    names = ', '.join('.'.join(map(str, version)) for version in supported)
    if wanted:
        version = python_version(wanted)
        if version not in supported:
            found = '.'.join(map(str, version)) if version else 'no usable Python'
            raise SetupError(
                f'{wanted} is {found}, but the {stack} stack needs Python {names} with '
                'its venv module. Pass another one: make ... PYTHON=/path/to/python.'
            )
        return wanted
    candidates = [sys.executable]
    candidates += [f'python{a}.{b}' for a, b in supported]
    for a, b in supported:
        pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')) / 'versions'
        candidates += sorted(pyenv.glob(f'{a}.{b}*/bin/python'), reverse=True)
    for candidate in candidates:
        if python_version(candidate) in supported:
            return candidate
    raise SetupError(
        f'No Python {names} with its venv module was found; the {stack} stack needs one. '
        'Install it (on Debian and Ubuntu also its -venv and -dev packages) or name it: '
        'make ... PYTHON=/path/to/python.'
    )


def check_torch_version(text, where):
    version = tuple(int(part) for part in re.findall(r'\d+', text)[:2])
    if version >= TORCH_TOO_NEW:
        raise SetupError(
            f'{where} is torch {text}, whose headers need C++20, but every mmcv release '
            'is compiled as C++17, so its operators cannot be built. Use torch 2.1 to '
            '2.13.'
        )


def check_compiler(python):
    """A C++ compiler and the Python headers, before anything long starts."""
    compiler = os.environ.get('CXX') or 'c++'
    if not (shutil.which(compiler) or shutil.which('g++')):
        raise SetupError(
            f'No C++ compiler was found ({compiler} and g++ are not on PATH). '
            "mmcv's operators are compiled once; install one (Debian and Ubuntu: "
            'build-essential) or set CXX.'
        )
    code = 'import sysconfig; print(sysconfig.get_paths()["include"])'
    header = Path(run([python, '-c', code]).strip()) / 'Python.h'
    if not header.is_file():
        raise SetupError(
            f"{header} is missing. The Python headers are needed to compile mmcv's "
            'operators; install the -dev (or -devel) package of this Python.'
        )


def cache_folder():
    base = os.environ.get('MMGCP_CACHE')
    if base:
        return Path(base)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmgcp'


@contextlib.contextmanager
def locked(path):
    """One builder at a time for one wheel, also across checkouts."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'another set-up is building the same wheel; waiting for {path}')
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Environment:
    """A virtual environment, and which of the set-up's steps it has behind it."""

    def __init__(self, folder, stack):
        self.folder = Path(folder).absolute()
        self.stack = stack
        self.pins = STACKS[stack]
        self.python = self.folder / 'bin' / 'python'
        self.stamps = self.folder / '.mmgcp-setup'

    @property
    def ours(self):
        return (self.stamps / 'started').is_file() or not self.folder.exists()

    def done(self, step, key):
        stamp = self.stamps / step
        return stamp.is_file() and stamp.read_text() == key

    def mark(self, step, key):
        self.stamps.mkdir(parents=True, exist_ok=True)
        part = self.stamps / f'{step}.part'
        part.write_text(key)
        os.replace(part, self.stamps / step)

    def pip(self, *arguments, **kwargs):
        run([self.python, '-m', 'pip', *arguments], **kwargs)

    def ask(self, code):
        return run([self.python, '-c', code]).strip()

    def create(self, python):
        if self.done('created', self.stack) and self.python.exists():
            return
        say(f'creating {self.folder}')
        self.mark('started', self.stack)
        run([python, '-m', 'venv', self.folder])
        self.mark('created', self.stack)

    def install_torch(self):
        torch, vision = self.pins['torch'], self.pins['torchvision']
        key = f'{torch} {vision}'
        if self.done('torch', key):
            return
        say(f'installing torch {torch} and torchvision {vision}')
        tools = [self.pins['setuptools'], 'wheel', 'ninja', 'psutil', 'packaging']
        self.pip('install', '--upgrade', 'pip', *tools)
        self.pip(
            'install',
            f'torch=={torch}',
            f'torchvision=={vision}',
            self.pins['numpy'],
        )
        self.mark('torch', key)

    def wheel_folder(self):
        """Cache folder of mmcv's wheel: Python, torch, machine, kind of operators."""
        code = (
            'import platform, sys, torch; '
            'print("cp%d%d-torch%s-%s-%s" % (*sys.version_info[:2], '
            'torch.__version__.split("+")[0], platform.machine(), '
            '"cuda" if torch.cuda.is_available() or %r else "cpu"))'
        )
        forced = os.environ.get('FORCE_CUDA') == '1'
        return cache_folder() / 'wheels' / self.ask(code.replace('%r', repr(forced)))

    def check_cuda_compiler(self):
        """mmcv compiles CUDA operators when torch sees a GPU, and needs nvcc for it."""
        code = 'from torch.utils.cpp_extension import CUDA_HOME; print(CUDA_HOME or "")'
        if not self.ask(code):
            raise SetupError(
                'torch sees a GPU here but no CUDA toolkit was found (nvcc is not on PATH '
                "and CUDA_HOME is not set), so mmcv's CUDA operators cannot be compiled. "
                'Install the toolkit of the version torch was built with, or set '
                'CUDA_VISIBLE_DEVICES= (empty) to set up for the CPU only.'
            )

    def build_mmcv(self, folder):
        """Compile mmcv in the cache; ninja continues a build that was interrupted."""
        name, version = self.pins['mmcv']
        build = folder.parent.parent / 'build' / folder.name
        sources = build / f'{name}-{version}'
        if not sources.is_dir():
            build.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=build) as temporary:
                self.pip(
                    *('download', '--no-deps', '--no-build-isolation'),
                    *(
                        '--no-binary',
                        ':all:',
                        '--dest',
                        temporary,
                        f'{name}=={version}',
                    ),
                )
                (archive,) = Path(temporary).glob('*.tar.gz')
                shutil.unpack_archive(archive, temporary)
                (unpacked,) = (p for p in Path(temporary).iterdir() if p.is_dir())
                os.replace(unpacked, sources)
        wheels = Path(tempfile.mkdtemp(dir=build))
        environment = dict(os.environ, MMCV_WITH_OPS='1')
        environment.setdefault('MAX_JOBS', str(jobs()))
        command = [self.python, '-m', 'pip', 'wheel', '-v', '--no-build-isolation']
        command += ['--no-deps', '--wheel-dir', wheels, sources]
        log = build / 'build.log'
        say(f'compiling the operators of {name} {version} (log: {log})')
        start = time.time()
        with open(log, 'w') as handle:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
            for line in process.stdout:
                handle.write(line)
                show_progress(line, start)
        if process.wait():
            tail = '\n'.join(log.read_text().splitlines()[-30:])
            raise SetupError(f'{name} {version} did not compile; see {log}\n{tail}')
        (wheel,) = wheels.glob('*.whl')
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(wheel, folder / wheel.name)
        shutil.rmtree(build)

    def install_mmcv(self):
        name, version = self.pins['mmcv']
        key = f'{name} {version}'
        if self.done('mmcv', key):
            return
        folder = self.wheel_folder()
        pattern = f'{name.replace("-", "_")}-{version}-*.whl'
        with locked(folder.parent / f'{folder.name}.lock'):
            if not list(folder.glob(pattern)):
                if folder.name.endswith('-cuda'):
                    self.check_cuda_compiler()
                self.build_mmcv(folder)
            (wheel,) = folder.glob(pattern)
        say(f'installing {wheel.name}')
        self.pip('install', '--force-reinstall', '--no-deps', wheel)
        self.mark('mmcv', key)

    def install_rest(self, extras):
        metadata = (ROOT / 'pyproject.toml').read_bytes()
        metadata += (ROOT / 'setup.py').read_bytes()
        key = f'{ROOT} {hashlib.sha256(metadata).hexdigest()}'
        step = '-'.join(['packages', *extras])
        if self.done(step, key):
            return
        say(f'installing mmgcp[{",".join(extras)}]')
        # mmcv's operators load under the torch they were compiled with and no other.
        code = (
            'import torch, torchvision; print("torch==%s\\ntorchvision==%s" % '
            '(torch.__version__.split("+")[0], torchvision.__version__.split("+")[0]))'
        )
        with tempfile.NamedTemporaryFile('w', suffix='.txt') as constraints:
            constraints.write(self.ask(code))
            constraints.flush()
            self.pip(
                *('install', '--no-build-isolation', '--constraint', constraints.name),
                *('--editable', f'{ROOT}[{",".join(extras)}]'),
            )
        # OpenMMLab asks for the build of OpenCV that needs a display's libraries.
        if subprocess.run(
            [self.python, '-c', 'import cv2'], capture_output=True
        ).returncode:
            self.pip(
                'install', '--force-reinstall', '--no-deps', 'opencv-python-headless<5'
            )
        self.mark(step, key)

    def check_given(self):
        """An environment of the user's own: complete, unmixed, with operators."""
        if not self.python.exists():
            raise SetupError(
                f'{self.python} does not exist; VENV must be the folder of a virtual '
                'environment. Leave VENV out to have one made.'
            )
        code = (
            'import importlib.metadata as m, json; '
            'd = m.packages_distributions(); '
            f'print(json.dumps({{n: sorted(set(d.get(n, []))) for n in {MODULES!r}}}))'
        )
        provided = json.loads(self.ask(code))
        missing = [name for name, by in provided.items() if not by]
        if missing:
            raise SetupError(
                f'{self.folder} has no {", ".join(missing)}. Install them there '
                f'(pip install "mmgcp[{self.stack}]" after torch), or leave VENV out.'
            )
        check_unmixed(provided, self.folder)
        check_torch_version(
            self.ask('import torch; print(torch.__version__)'), self.folder
        )
        try:
            self.ask('import mmcv.ops')
        except SetupError as error:
            raise SetupError(
                f'mmcv in {self.folder} has no operators (import mmcv.ops fails): it was '
                'built before or without torch. Reinstall it with MMCV_WITH_OPS=1 and '
                f'--no-build-isolation.\n{error}'
            ) from None


def check_unmixed(provided, where):
    """Both families of distributions in one place overwrite each other's files."""
    names = sorted({name for by in provided.values() for name in by})
    onedl = [name for name in names if name.startswith('onedl-')]
    original = [name for name in names if not name.startswith('onedl-')]
    if onedl and original:
        raise SetupError(
            f'{where} mixes two stacks: {", ".join(onedl)} and {", ".join(original)} '
            'install the same modules over each other. Uninstall all of them, then '
            'install one stack: mmgcp[onedl] or mmgcp[openmmlab].'
        )


def jobs():
    """Compilers at once: one per core, and 2 GiB of memory for each."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    return max(1, min(os.cpu_count() or 1, int(memory // 2)))


def show_progress(line, start):
    found = re.match(r'\s*\[(\d+)/(\d+)\]', line)
    if not found:
        return
    done, total = map(int, found.groups())
    minutes = (time.time() - start) / 60
    left = minutes / done * (total - done)
    if sys.stdout.isatty():
        end = '\n' if done == total else ''
        print(
            f'\r[setup] {done}/{total} files, {left:.0f} min left ', end=end, flush=True
        )
    elif done % 10 == 0 or done == total:
        say(f'{done}/{total} files compiled, about {left:.0f} min left')


def set_up(stack, venv, python, extras):
    default = '.venv' if stack == 'onedl' else f'.venv-{stack}'
    environment = Environment(venv or ROOT / default, stack)
    if not environment.ours:
        environment.check_given()
        environment.install_rest([extra for extra in extras if extra != stack])
        return
    check_torch_version(environment.pins['torch'], f'The {stack} stack')
    interpreter = None
    if not environment.done('created', stack) or not environment.python.exists():
        interpreter = find_python(stack, python)
    if not environment.done('mmcv', ' '.join(environment.pins['mmcv'])):
        check_compiler(interpreter or environment.python)
    environment.create(interpreter)
    environment.install_torch()
    environment.install_mmcv()
    environment.install_rest(extras)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--stack', choices=sorted(STACKS), default='onedl')
    parser.add_argument('--venv', help='folder of the environment (default: .venv)')
    parser.add_argument('--python', help='interpreter to make the environment with')
    parser.add_argument('--extras', default='test', help='extras beside the stack')
    parser.add_argument(
        '--check-python',
        action='store_true',
        help='only say whether a Python for the stack is here: status 0, or 3 if not',
    )
    arguments = parser.parse_args()
    if platform.system() not in ('Linux', 'Darwin'):
        raise SetupError(f'{platform.system()} is not supported; use Linux or macOS.')
    if arguments.check_python:
        try:
            find_python(arguments.stack, arguments.python)
        except SetupError as error:
            say(str(error))
            return 3
        return 0
    extras = [arguments.stack, *filter(None, arguments.extras.split(','))]
    set_up(arguments.stack, arguments.venv, arguments.python, extras)
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except SetupError as error:
        sys.exit(f'[setup] {error}')
    except KeyboardInterrupt:
        sys.exit('[setup] interrupted; run the same command again to go on')
