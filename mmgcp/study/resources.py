"""What each kind of step asks a cluster for."""

import ast
import contextlib
import difflib
import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

from .step import KINDS, TRAININGS, Step, StudyError

#: Kinds whose processes may be spread over nodes, and kinds that use GPUs.
_SPREAD = (*TRAININGS, 'evaluate')
_ON_GPUS = (*_SPREAD, 'costs', 'analysis')
_GPU_KEYS = ('gpus_per_node', 'gpus_per_task', 'cpus_per_gpu', 'mem_per_gpu', 'gres')


class Resources:
    """Options of submitit by kind of step.

    Options of one kind win over those of all kinds, the command line over the study.

    Args:
        study: ``resources`` of the study: options, and a dictionary of them by kind.
        texts: ``KEY=VALUE`` or ``KIND:KEY=VALUE`` from the command line.
    """

    def __init__(self, study: dict[str, Any], texts: Iterable[str] = ()) -> None:
        self.by_kind: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.common: dict[str, Any] = {}
        for key, value in study.items():
            if isinstance(value, dict) and key != 'additional_parameters':
                for option, each in value.items():
                    self._set('resources', key, option, each)
            else:
                self._set('resources', None, key, value)
        for text in texts:
            match = re.fullmatch(r'(?:(\w+):)?(\w+)=(.+)', text)
            if match is None:
                raise StudyError(
                    f'--slurm {text}: expected KEY=VALUE or KIND:KEY=VALUE'
                )
            kind, key, value = match.groups()
            with contextlib.suppress(ValueError, SyntaxError):
                value = ast.literal_eval(value)
            self._set(f'--slurm {text}', kind, key, value)

    def _set(self, where: str, kind: str | None, key: str, value: Any) -> None:
        if kind is not None and kind not in KINDS:
            raise StudyError(f'{where}: no kind {kind!r}{nearest(kind, KINDS)}')
        (self.by_kind[kind] if kind else self.common)[key] = value

    def of(self, step: Step) -> dict[str, Any]:
        """Options of one step. By default, only steps that use GPUs get them, a single
        process gets one, and what measures time gets a node of its own."""
        common = dict(self.common)
        if step.kind not in _ON_GPUS:
            common = {k: v for k, v in common.items() if k not in _GPU_KEYS}
        elif step.processes == 1 and common.get('gpus_per_node'):
            common['gpus_per_node'] = 1
        if step.kind not in _SPREAD:
            common.pop('nodes', None)
        if step.exclusive:
            common.setdefault('exclusive', True)
        found = {**common, **self.by_kind[step.kind]}
        found = {key: value for key, value in found.items() if value}
        return {'cpus_per_task': 1, 'nodes': 1, **found}

    def check(self, steps: list[Step]) -> None:
        """Refuse layouts that cannot work."""
        for step in steps:
            found = self.of(step)
            for key in ('cpus_per_task', 'nodes', 'gpus_per_node'):
                if not isinstance(found.get(key, 1), int):
                    raise StudyError(f'{key}={found[key]!r} is not a whole number')
            nodes, gpus = found['nodes'], found.get('gpus_per_node')
            if nodes > 1 and step.kind not in _SPREAD:
                raise StudyError(
                    f'{step.kind}:nodes={nodes}: only {", ".join(_SPREAD)} can run on '
                    'several nodes'
                )
            if step.processes % nodes:
                raise StudyError(
                    f'{step.name}: {step.processes} processes cannot be divided between '
                    f'nodes={nodes}; --nproc counts the processes of all nodes'
                )
            if gpus and step.processes // nodes > gpus:
                raise StudyError(
                    f'{step.name}: {step.processes} processes on nodes={nodes} need '
                    f'{step.processes // nodes} GPUs on each, gpus_per_node={gpus}'
                )

    def check_names(self, known: Iterable[str]) -> None:
        """Refuse options that are not ``known``, and say what is meant."""
        known = set(known)
        for key in chain(self.common, *self.by_kind.values()):
            if key not in known:
                raise StudyError(
                    f'unknown option of --slurm or resources: {key}'
                    f'{nearest(key, known) or "; known: " + ", ".join(sorted(known))}'
                )


def nearest(name: str, known: Iterable[str]) -> str:
    names = difflib.get_close_matches(name, list(known), 2, 0.6)
    return f'; did you mean {" or ".join(names)}?' if names else ''
