#!/usr/bin/env python3
"""Set up a virtual environment with one of the two supported stacks.

    python3 tools/setup_env.py [--stack onedl|openmmlab] [--venv DIR]

It makes the environment, compiles mmcv's operators once into a cache outside the checkout
and installs everything in the versions of ``requirements/``. With nothing to do it ends at
once. After an interruption, run it again. An environment of your own (``--venv``) is
checked and completed. Its torch and its OpenMMLab packages stay as they are.

Python 3.8 and the standard library are enough to run this script.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmgcp'
CACHE = Path(os.environ.get('MMGCP_CACHE') or CACHE).absolute()
PYTHONS = {'onedl': ('3.12', '3.11', '3.10'), 'openmmlab': ('3.10',)}
# Runs GCC with the headers of torch precompiled, for reading them takes most of mmcv's
# build. GCC uses a precompiled header only with the flags that it was made with, and
# reads the plain one otherwise. So the first call makes it, from its own arguments.
COMPILER = r"""#!/bin/sh
header='{folder}/header.hpp'
case " $* " in *" -c "*) ;; *) exec {compiler} "$@" ;; esac
if mkdir "$header.lock" 2>/dev/null; then
    printf '#include <torch/types.h>\n#include <vector>\n' >"$header"
    flags=$(echo " $* " |
        sed 's/ -MMD / /; s/ -MF [^ ]*//; s/ -o [^ ]*//; s/\( -c\)* [^ ]*\.cpp / /')
    {compiler} $flags -g0 -x c++-header "$header" -o "$header.part" &&
        mv "$header.part" "$header.gch"
    : >"$header.done"
fi
while [ ! -e "$header.done" ]; do sleep 1; done
exec {compiler} -Winvalid-pch -include "$header" "$@" -g0
"""
# Checks the environment of a user and writes what has to stay as it is.
CHECK = r"""
import sys
from mmgcp.utils.stack import providers
found = {p.distribution: p.version for p in providers()}
if len({p.family for p in providers()}) > 1:
    sys.exit('two stacks are installed over each other: ' + ', '.join(found))
import mmcv.ops, mmdet, mmengine, mmpretrain, mmseg, torch, torchvision
found.update(torch=torch.__version__, torchvision=torchvision.__version__)
lines = [f'{name}=={version.split("+")[0]}\n' for name, version in found.items()]
open(sys.argv[1], 'w').writelines(lines)
"""


class SetupError(Exception):
    """What is wrong and what to do about it."""


def say(text):
    print(f'[setup] {text}', flush=True)


def run(*command, **options):
    """Run a command and return its output, or the last lines of it as an error."""
    command = [str(part) for part in command]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    done = subprocess.run(command, **pipes, **options)
    if done.returncode:
        tail = '\n'.join(done.stdout.splitlines()[-30:])
        raise SetupError(f'This command failed:\n  {shlex.join(command)}\n{tail}')
    return done.stdout


def find_python(stack, wanted=None):
    """An interpreter that the stack supports and that can make environments."""
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')) / 'versions'
    candidates = [sys.executable, *(f'python{version}' for version in PYTHONS[stack])]
    candidates += sorted(pyenv.glob('3.*/bin/python'), reverse=True)
    code = 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])'
    found = 'not usable'
    for candidate in [wanted] if wanted else candidates:
        with contextlib.suppress(OSError, SetupError):
            found = run(candidate, '-c', code).strip()
            if found in PYTHONS[stack]:
                return candidate
    raise SetupError(
        f'The {stack} stack needs Python {", ".join(PYTHONS[stack])} with its venv module; '
        f'{f"{wanted} is {found}" if wanted else "none was found"}. Install it (on Debian '
        'and Ubuntu also its -venv and -dev packages), or name it: make ... '
        'PYTHON=/path/to/python.'
    )


def find_compiler(python):
    """The command of the C++ compiler; Python's headers must be there too."""
    compiler = os.environ.get('CXX') or 'c++'
    code = 'import sysconfig; print(sysconfig.get_paths()["include"])'
    header = Path(run(python, '-c', code).strip()) / 'Python.h'
    missing = [] if header.is_file() else [str(header)]
    if not shutil.which(shlex.split(compiler)[0]):
        missing.append(compiler)
    if missing:
        raise SetupError(
            f"{' and '.join(missing)} cannot be found. mmcv's operators are compiled once, "
            "with a C++ compiler and Python's headers. Install both (Debian and Ubuntu: "
            'build-essential and python3-dev), or name a compiler by CXX.'
        )
    return compiler


class Environment:
    """A virtual environment, and stamps that say what was installed in it."""

    def __init__(self, folder, stack):
        self.folder, self.stack = Path(folder).absolute(), stack
        self.python = self.folder / 'bin' / 'python'
        self.requirements = ROOT / 'requirements' / f'{stack}.in'
        self.constraints = self.requirements.with_suffix('.txt')

    def stamp(self, name):
        path = self.folder / '.mmgcp-setup' / name
        return path.read_text() if path.is_file() else ''

    def mark(self, name, text):
        path = self.folder / '.mmgcp-setup' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix('.part').write_text(text)
        os.replace(path.with_suffix('.part'), path)

    @functools.cached_property
    def uv(self):
        """uv of this machine, or of the cache. None if pip has an index of its own."""
        pip = (self.python, '-m', 'pip')
        done = subprocess.run([*pip, 'config', 'list'], capture_output=True)
        if re.search(rb'\.(index-url|no-index)=', done.stdout):
            return None
        path = f'{os.environ["PATH"]}:{CACHE}/uv/bin'
        if not shutil.which('uv', path=path):
            with contextlib.suppress(SetupError):
                pinned = ('--constraint', self.constraints, '--target', CACHE / 'uv')
                run(*pip, 'install', *pinned, 'uv')
        return shutil.which('uv', path=path)

    def install(self, *arguments):
        """Install with uv, then with uv from its cache alone, then with pip."""
        uv = [self.uv, 'pip', 'install', '--python', self.python]
        for options in ((), ('--offline',)) if self.uv else ():
            with contextlib.suppress(SetupError):
                return run(*uv, *options, *arguments)
        return run(self.python, '-m', 'pip', 'install', *arguments)

    def set_up(self, python, extras):
        """Do what the stamps do not show as done."""
        key = hashlib.sha256(str(ROOT).encode())
        for path in (self.constraints, ROOT / 'pyproject.toml', ROOT / 'setup.py'):
            key.update(path.read_bytes())
        name, key = '-'.join(['packages', *extras]), key.hexdigest()
        if self.stamp(name) == key and self.is_whole():
            return
        CACHE.mkdir(parents=True, exist_ok=True)
        with open(CACHE / 'lock', 'w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f'waiting for another set-up, which holds {lock.name}')
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self.folder.exists() and not self.stamp('state'):
                self.complete_given(extras[1:])
            elif self.stamp(name) != key or not self.is_whole():
                self.install_all(python, extras)
            self.mark(name, key)

    def is_whole(self):
        return self.python.exists() and self.stamp('state') != 'changing'

    def install_all(self, python, extras):
        """Install the stack. The state stays ``changing`` if this process is killed."""
        if not self.is_whole() or self.stamp('state') != self.stack:
            python = find_python(self.stack, python)
            find_compiler(python)
            say(f'creating {self.folder}')
            shutil.rmtree(self.folder, ignore_errors=True)
            self.mark('state', 'changing')
            run(python, '-m', 'venv', self.folder)
        self.mark('state', 'changing')
        pinned = ('--constraint', self.constraints)
        try:
            say('installing torch')
            self.install(*pinned, '--requirement', self.requirements)
            self.install_mmcv()
            self.install_package(extras, pinned)
        except SetupError:
            self.mark('state', self.stack)
            raise
        self.mark('state', self.stack)

    def install_package(self, extras, pinned):
        say(f'installing mmgcp[{",".join(extras)}]')
        requirement = f'{ROOT}[{",".join(extras)}]'
        self.install('--no-build-isolation', *pinned, '--editable', requirement)
        try:
            run(self.python, '-c', 'import cv2')
        except SetupError:
            # The frameworks ask for the OpenCV that needs a display's libraries.
            options = ('--force-reinstall', '--no-deps')
            self.install(*pinned, *options, 'opencv-python-headless')
        # uv leaves this to every import. Some test files of other packages fail.
        with contextlib.suppress(SetupError):
            run(self.python, '-m', 'compileall', '-q', '-j', '0', self.folder / 'lib')

    def install_mmcv(self):
        """Install the wheel that was compiled for this Python, torch and machine."""
        pins = dict(re.findall(r'(?m)^(\S+)==(\S+)', self.constraints.read_text()))
        name = 'mmcv' if 'mmcv' in pins else 'onedl-mmcv'
        code = (
            'import sys, torch, torch.utils.cpp_extension as e; print("cp%d%d" % '
            'sys.version_info[:2], torch.cuda.is_available(), bool(e.CUDA_HOME))'
        )
        python, gpu, toolkit = run(self.python, '-c', code).split()[-3:]
        kind = 'cuda' if gpu == 'True' or os.environ.get('FORCE_CUDA') == '1' else 'cpu'
        key = f'{python}-torch{pins["torch"]}-{os.uname().machine}-{kind}'
        folder = CACHE / 'wheels' / key
        pattern = f'{name.replace("-", "_")}-{pins[name]}-*.whl'
        if not list(folder.glob(pattern)):
            if kind == 'cuda' and toolkit == 'False':
                raise SetupError(
                    'torch sees a GPU (or FORCE_CUDA=1), but there is no nvcc on PATH and '
                    'no CUDA_HOME. Install the CUDA toolkit of the version that torch was '
                    'built with, or set CUDA_VISIBLE_DEVICES= (empty).'
                )
            self.build_mmcv(f'{name}=={pins[name]}', folder)
        (wheel,) = folder.glob(pattern)
        self.install('--force-reinstall', '--no-deps', wheel)

    def build_mmcv(self, requirement, folder):
        """Compile mmcv's operators and put the wheel into the folder."""
        compiler, build = find_compiler(self.python), folder / 'build'
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir(parents=True)
        log = build / 'log'
        say(f'compiling {requirement}: 3 minutes with GCC on two cores (log: {log})')
        jobs = str(os.cpu_count())
        variables = {'MAX_JOBS': jobs, **os.environ, 'MMCV_WITH_OPS': '1'}
        about = run(*shlex.split(compiler), '--version')
        if 'Free Software' in about and not folder.name.endswith('cuda'):
            wrapper = build / 'c++'
            wrapper.write_text(COMPILER.format(folder=build, compiler=compiler))
            wrapper.chmod(0o755)
            variables['CXX'] = str(wrapper)
        command = (self.python, '-m', 'pip', 'wheel', '--log', log, requirement)
        options = ('--no-build-isolation', '--no-deps', '--no-cache-dir')
        run(*command, *options, '--wheel-dir', build, env=variables)
        (wheel,) = build.glob('*.whl')
        os.replace(wheel, folder / wheel.name)
        shutil.rmtree(build)

    def complete_given(self, extras):
        """Check a user's own environment and install what the package itself needs."""
        with tempfile.NamedTemporaryFile(suffix='.txt') as kept:
            try:
                run(self.python, '-c', CHECK, kept.name, cwd=ROOT)
            except (OSError, SetupError) as error:
                raise SetupError(
                    f'{self.folder} has no complete stack: {str(error).splitlines()[-1]}\n'
                    'Install torch 2.1 to 2.13 (mmcv compiles with no newer one), then '
                    'either mmgcp[onedl] or mmgcp[openmmlab]. If mmcv._ext is missing, '
                    'reinstall mmcv with MMCV_WITH_OPS=1 and --no-build-isolation. Or '
                    'leave VENV out to have an environment made.'
                ) from None
            self.install_package(extras, ('--constraint', kept.name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--stack', choices=sorted(PYTHONS), default='onedl')
    parser.add_argument('--venv', help='folder of the environment (default: .venv)')
    parser.add_argument('--python', help='interpreter to make the environment with')
    parser.add_argument('--extras', nargs='*', default=['test'], help='of this package')
    options = parser.parse_args()
    default = '.venv' if options.stack == 'onedl' else f'.venv-{options.stack}'
    environment = Environment(options.venv or ROOT / default, options.stack)
    environment.set_up(options.python, [options.stack, *options.extras])


if __name__ == '__main__':
    try:
        main()
    except SetupError as error:
        sys.exit(f'[setup] {error}')
    except KeyboardInterrupt:
        sys.exit('[setup] interrupted; run the same command again to go on')
