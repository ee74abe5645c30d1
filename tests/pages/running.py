"""Running a command of a page in a folder, without the seconds of its imports.

A Python command runs in a fork of a process that has imported the stack and done
nothing else; everything else is started as it stands.
"""

import multiprocessing
import os
import re
import runpy
import shlex
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path

STACK = (
    'torch',
    'matplotlib.pyplot',
    'sklearn.datasets',
    'onnxruntime',
    'mmcv.ops',
    'mmengine.runner',
    'mmpretrain.apis',
    'mmdet.apis',
    'mmseg.apis',
    'mmgcp.models',
    'mmgcp.weights',
)
SECONDS = 300


class Forks:
    """Forks of a process that has imported the stack."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context('forkserver')
        self.context.set_forkserver_preload(list(STACK))
        before = os.environ.get('OMP_NUM_THREADS')
        # Read when torch is imported: a pool of threads does not survive a fork.
        os.environ['OMP_NUM_THREADS'] = '1'
        try:
            forkserver.ensure_running()
        finally:
            os.environ.pop('OMP_NUM_THREADS')
            if before is not None:
                os.environ['OMP_NUM_THREADS'] = before

    def run(self, task, folder: Path, environment: dict, log: Path) -> int:
        """Run ``task``, ``(kind, ...)`` of :func:`_perform`, and return its status."""
        process = self.context.Process(
            target=_child, args=(task, str(folder), environment, str(log))
        )
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return 124
        return process.exitcode


def _child(task, folder: str, environment: dict, log: str) -> None:
    with open(log, 'ab') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    import mmengine.runner.runner as runner
    import torch
    from mmengine.config import Config

    torch.set_num_threads(1)
    # Formatting the config and asking the compilers takes longer than most models.
    Config.pretty_text = property(repr)
    runner.collect_env = dict
    _perform(*task)


def _perform(kind: str, words: list[str], given: dict | None = None) -> None:
    sys.argv = words
    if kind == 'module':
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[0], run_name='__main__', alter_sys=True)
    elif kind == 'script':
        sys.path.insert(0, os.path.dirname(words[0]))
        runpy.run_path(words[0], run_name='__main__')
    else:
        sys.path.insert(0, os.getcwd())
        names = {**(given or {}), '__name__': '__main__'}
        for text in words:
            exec(compile(text, 'page', 'exec'), names)


class Shell:
    """The reader's shell in the checkout: a folder, an environment, variables."""

    def __init__(self, forks: Forks, folder: Path) -> None:
        self.forks, self.folder = forks, folder
        self.log = folder.parent / f'{folder.name}.log'
        self.variables: dict[str, str] = {}
        paths = [str(Path(sys.executable).parent), os.environ['PATH']]
        self.environment = {
            **os.environ,
            'PATH': os.pathsep.join(paths),
            'PYTHON': sys.executable,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': str(folder),
            'HF_HUB_OFFLINE': '1',
        }
        self.environment.pop('MMGCP_SCENES', None)

    def python(self, *texts: str, **given) -> None:
        """Execute blocks of Python one after the other, in one namespace.

        Raises:
            AssertionError: It raised; the message is what it printed.
        """
        self._check(self._fork(('text', texts, given)), texts[0])

    def run(self, command: str) -> None:
        """Run one line.

        Raises:
            AssertionError: Its status is not zero; the message is what it printed.
        """
        line = self._expanded(command)
        variable = re.fullmatch(r'(\w+)=(\S+)', line)
        if variable:
            self.variables[variable[1]] = variable[2]
            return
        words = shlex.split(line)
        environment = dict(self.environment)
        while re.match(r'[A-Z_]+=', words[0]):
            name, _, environment[name] = words.pop(0).partition('=')
        if words[0].endswith('.py'):
            words.insert(0, 'python')
        if words[0] != 'python':
            status = self._start(words, environment)
        elif words[1] == '-m':
            status = self._fork(('module', words[2:]), environment)
        elif words[1] == '-c':
            status = self._fork(('text', words[2:3]), environment)
        else:
            status = self._fork(('script', words[1:]), environment)
        self._check(status, command)

    def _fork(self, task, environment=None) -> int:
        environment = environment or self.environment
        return self.forks.run(task, self.folder, environment, self.log)

    def _start(self, words: list[str], environment: dict) -> int:
        with open(self.log, 'ab') as log:
            done = subprocess.run(
                words,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=SECONDS,
            )
        return done.returncode

    def _expanded(self, line: str) -> str:
        for name, value in self.variables.items():
            line = line.replace(f'${name}', value)

        return re.sub(r'\$\((python -c "[^"]*")\)', self._output, line)

    def _output(self, found: re.Match) -> str:
        done = subprocess.run(
            [sys.executable, *shlex.split(found[1])[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def _check(self, status: int, what: str) -> None:
        printed = self.log.read_text(errors='replace') if self.log.exists() else ''
        self.log.unlink(missing_ok=True)
        assert status == 0, f'{what}\nended with {status}:\n{printed[-4000:]}'
        assert 'Traceback' not in printed, f'{what}\n{printed[-4000:]}'
