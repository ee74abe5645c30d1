"""Read and check a study's configuration file."""

import copy
import math
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from mmgcp.analysis.convergence import CONVERGENCE
from mmgcp.utils.config import load_config

from .plan import PRETRAIN, metrics_of
from .step import KINDS, StudyError

#: Key, type and value when a study does not give it (None: see ``load_study``).
_KEYS: dict[str, tuple[Any, Any]] = {
    'name': (str, None),
    'title': (str, None),
    'work_dir': (str, None),
    'baseline': (str, None),
    'seeds': (list, [0]),
    'primary': (list, []),
    'margin': ((int, float, dict), {}),
    'comparison': (str, 'paired'),
    'contrasts': (list, []),
    'data': (dict, {}),
    'encoders': (dict, {}),
    'recalibrate': (dict, {}),
    'tasks': (dict, {}),
    'analyses': (list, []),
    'analysis_options': (dict, {}),
    'pictures': (int, 4),
    'costs': (bool, True),
    'nproc': (int, 1),
    'resources': (dict, {}),
    'expected_seconds': (dict, {}),
    'reference_tables': (list, []),
    'assumptions': (dict, {}),
    'own_data': (dict, {}),
}
_WAYS = ('pretrain', 'checkpoint', 'source', 'init_cfg')
_ENTRY_KEYS = {
    'encoders': (*_WAYS, 'label', 'overrides', 'metrics', 'backbone'),
    'tasks': (
        'label',
        'config',
        'metrics',
        'overrides',
        'nproc',
        'encoders',
        'protocol',
        'lr',
    ),
}
_DATA_KEYS = ('command', 'result')
_COMPARISONS = ('paired', 'welch')
ANALYSES = (
    'landscape',
    'curvature',
    'preconditioner',
    'spectrum',
    'convergence',
    'robustness',
    'complexity',
    'bootstrap',
)


def load_study(path: str | Path, options: dict | None = None) -> dict[str, Any]:
    """Read a study file (``docs/studies.md``) into a dictionary with every key filled.

    ``options`` are changes by dotted key, as ``--cfg-options`` gives them.
    """
    path = Path(path)
    given = load_config(path, options).to_dict()
    given = {key: value for key, value in given.items() if not key.startswith('_')}
    _check_names(str(path), 'key', given, _KEYS)
    for key, value in given.items():
        if value is not None and not isinstance(value, _KEYS[key][0]):
            raise StudyError(f'{path}: {key} = {value!r} has the wrong type')
    study = {
        key: copy.deepcopy(default) if given.get(key) is None else given[key]
        for key, (_, default) in _KEYS.items()
    }
    study['name'] = study['name'] or path.stem
    study['title'] = study['title'] or study['name']
    study['work_dir'] = study['work_dir'] or f'work_dirs/studies/{study["name"]}'
    study['baseline'] = study['baseline'] or next(iter(study['encoders']), '')
    _check(study, path)
    return study | {'file': str(path), 'options': options or {}}


def select(
    study: dict[str, Any],
    seeds: int | None = None,
    encoders: list[str] | None = None,
    tasks: list[str] | None = None,
    analyses: list[str] | None = None,
    nproc: int | None = None,
) -> dict[str, Any]:
    """Narrow or widen a study as the command line asks."""
    study = dict(study)
    for option, number in (('seeds', seeds), ('nproc', nproc)):
        if number is not None and number < 1:
            raise StudyError(f'--{option} {number}: at least one is needed')
    if seeds is not None:
        chosen = study['seeds'][:seeds]
        others = [seed for seed in range(2 * seeds) if seed not in chosen]
        study['seeds'] = chosen + others[: seeds - len(chosen)]
    for key, names in (('encoders', encoders), ('tasks', tasks)):
        if names is not None:
            _check_names(f'--{key}', f'name for {study["file"]}', names, study[key])
            study[key] = {n: entry for n, entry in study[key].items() if n in names}
    if len(study['encoders']) > 1 and study['baseline'] not in study['encoders']:
        study['baseline'] = next(iter(study['encoders']))
    measured = end_points(study)
    study['primary'] = [point for point in study['primary'] if point in measured]
    study['contrasts'] = [
        pair for pair in study['contrasts'] if set(pair) <= set(study['encoders'])
    ]
    if analyses is not None:
        study['analyses'] = list(ANALYSES) if analyses == ['all'] else list(analyses)
        _check_names('--analyses', 'analysis', study['analyses'], ANALYSES)
    study['nproc'] = nproc or study['nproc']
    return study


def end_points(study: dict[str, Any]) -> list[str]:
    """What the study measures, as ``task/metric``."""
    tasks = list(study['tasks'])
    if any('pretrain' in entry for entry in study['encoders'].values()):
        tasks.insert(0, PRETRAIN)
    found = []
    for task in tasks:
        protocol = study['tasks'].get(task, {}).get('protocol')
        curve = () if protocol else (CONVERGENCE,)  # only a training has one
        found += [f'{task}/{key}' for key in (*metrics_of(study, task), *curve)]
    return found


def contrasts(study: dict[str, Any]) -> list[list[str]]:
    """Pairs to compare; by default every encoder with the baseline."""
    baseline, encoders = study['baseline'], study['encoders']
    everything = [[name, baseline] for name in encoders if name != baseline]
    return study['contrasts'] or (everything if baseline in encoders else [])


def _check(study: dict[str, Any], path: Path) -> None:
    for key in ('encoders', 'tasks'):
        if not study[key]:
            raise StudyError(f'{path}: {key} must name at least one')
        for name, entry in study[key].items():
            if not re.fullmatch(r'\w[\w.-]*', name):
                raise StudyError(f'{path}: {key}: {name!r} cannot be a folder name')
            _check_entry(f'{path}: {key}.{name}', key, entry)
    for name, entry in study['tasks'].items():
        if name in KINDS:
            raise StudyError(f'{path}: tasks: {name!r} is a kind of step')
        where, chosen = f'{path}: tasks.{name}', entry.get('encoders', [])
        _check_names(where, 'encoder', chosen, study['encoders'])
    if study['baseline'] not in study['encoders']:
        raise StudyError(
            f'{path}: baseline = {study["baseline"]!r} is not one of the encoders '
            f'{", ".join(study["encoders"])}'
        )
    seeds = study['seeds']
    if not seeds or len(set(seeds)) != len(seeds):
        raise StudyError(f'{path}: seeds = {seeds} must be different and at least one')
    for key in ('analyses', 'analysis_options'):
        _check_names(f'{path}: {key}', 'analysis', study[key], ANALYSES)
    for key, known in (('recalibrate', ('images', 'config')), ('data', _DATA_KEYS)):
        _check_names(f'{path}: {key}', 'key', study[key], known)
    if study['data'] and len(study['data']) < len(_DATA_KEYS):
        raise StudyError(f'{path}: data needs {" and ".join(_DATA_KEYS)}')
    _check_statistics(study, str(path))


def _check_statistics(study: dict[str, Any], path: str) -> None:
    measured, margin = end_points(study), study['margin']
    _check_names(f'{path}: primary', 'end-point', study['primary'], measured)
    _check_names(f'{path}: comparison', 'kind', [study['comparison']], _COMPARISONS)
    margins = margin if isinstance(margin, dict) else dict.fromkeys(measured, margin)
    _check_names(f'{path}: margin', 'end-point', margins, measured)
    for value in margins.values():
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise StudyError(
                f'{path}: margin = {value!r} must be a positive number: differences '
                'between minus and plus it count as equal'
            )
    for pair in study['contrasts']:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise StudyError(f'{path}: contrasts: {pair} must name two encoders')
        _check_names(f'{path}: contrasts', 'encoder', pair, study['encoders'])


def _check_entry(where: str, key: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise StudyError(
            f'{where} = {entry!r} must be a dict; remove the line to leave it out'
        )
    _check_names(where, 'key', entry, _ENTRY_KEYS[key])
    if key == 'encoders':
        ways = [way for way in _WAYS if way in entry]
        if len(ways) != 1:
            raise StudyError(
                f'{where} needs exactly one of {", ".join(_WAYS)}; '
                f'it has {", ".join(ways) or "none"}'
            )
        return
    protocol = entry.get('protocol')
    if protocol not in (None, 'features', 'training-data'):
        raise StudyError(
            f"{where}: protocol = {protocol!r} is unknown; 'features' is k-NN and "
            "logistic regression on a frozen encoder, 'training-data' the pre-trained "
            'classifier on its training images, no protocol a training'
        )
    # The training images and the classifier are those of pre-training.
    for needed in (
        ('metrics',) if protocol == 'training-data' else ('config', 'metrics')
    ):
        if not entry.get(needed):
            raise StudyError(f'{where} needs {needed!r}')
    rates = entry.get('lr', [1.0])
    good = isinstance(rates, list) and all(
        isinstance(rate, int | float) and rate > 0 for rate in rates
    )
    if not good or not rates or len(set(rates)) < len(rates):
        raise StudyError(
            f'{where}.lr = {rates!r} must be a list of different positive numbers'
        )


def _check_names(
    where: str, what: str, names: Iterable[str], known: Collection
) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StudyError(
            f'{where}: unknown {what} {unknown[0]!r}; known: {", ".join(known)}'
        )
