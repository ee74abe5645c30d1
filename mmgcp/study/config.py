"""Read and check a study's configuration file."""

import re
from pathlib import Path
from typing import Any

from mmgcp.utils.config import load_config

from .step import StudyError

_KEYS: dict[str, Any] = {
    'name': str,
    'title': str,
    'work_dir': str,
    'baseline': str,
    'seeds': list,
    'data': (dict, type(None)),
    'encoders': dict,
    'tasks': dict,
    'analyses': list,
    'analysis_options': dict,
    'pictures': int,
    'costs': bool,
    'nproc': int,
    'expected_seconds': dict,
    'reference_tables': list,
    'assumptions': dict,
    'own_data': dict,
}
_ENCODER_KEYS = {
    'label',
    'pretrain',
    'checkpoint',
    'source',
    'init_cfg',
    'overrides',
    'metrics',
    'backbone',
}
_TASK_KEYS = {
    'label',
    'config',
    'metrics',
    'overrides',
    'nproc',
    'encoders',
}
_WAYS = ('pretrain', 'checkpoint', 'source', 'init_cfg')
ANALYSES = (
    'landscape',
    'curvature',
    'preconditioner',
    'spectrum',
    'convergence',
    'robustness',
    'complexity',
)


def load_study(path: str | Path, options: dict | None = None) -> dict[str, Any]:
    """Read a study configuration.

    Args:
        path: A Python file; what it may hold is in ``docs/studies.md``.
        options: Changes by dotted key, as ``--cfg-options`` gives them.

    Returns:
        Plain dictionary with every key filled.

    Raises:
        StudyError: The file is missing or a key or value is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(f'{path}: no such study; see configs/studies/')
    config = load_config(path, options)
    study = {
        key: value
        for key, value in config.to_dict().items()
        if key in _KEYS or not key.startswith('_')
    }
    study.setdefault('name', path.stem)
    study.setdefault('title', study['name'])
    study.setdefault('work_dir', f'work_dirs/studies/{study["name"]}')
    study.setdefault('data', None)
    study.setdefault('seeds', [0])
    study.setdefault('analyses', [])
    study.setdefault('pictures', 4)
    study.setdefault('costs', True)
    study.setdefault('nproc', 1)
    for key in ('expected_seconds', 'assumptions', 'own_data', 'analysis_options'):
        study.setdefault(key, {})
    study.setdefault('reference_tables', [])
    study.setdefault('baseline', next(iter(study.get('encoders') or {'': 0})))
    study['file'] = str(path)
    _check(study, path)
    return study


def select(
    study: dict[str, Any],
    seeds: int | None = None,
    encoders: list[str] | None = None,
    tasks: list[str] | None = None,
    analyses: list[str] | None = None,
    nproc: int | None = None,
) -> dict[str, Any]:
    """Narrow or widen a study as the command line asks.

    Raises:
        StudyError: A name is not in the study.
    """
    study = dict(study)
    if seeds is not None:
        if seeds < 1:
            raise StudyError(f'--seeds {seeds}: at least one seed is needed')
        chosen = study['seeds'][:seeds]
        others = [seed for seed in range(2 * seeds) if seed not in chosen]
        study['seeds'] = chosen + others[: seeds - len(chosen)]
    for key, names in (('encoders', encoders), ('tasks', tasks)):
        if names is not None:
            unknown = [name for name in names if name not in study[key]]
            if unknown:
                raise StudyError(
                    f'--{key} {" ".join(unknown)}: not in {study["file"]}, '
                    f'which has {", ".join(study[key])}'
                )
            study[key] = {
                name: study[key][name] for name in study[key] if name in names
            }
    if analyses is not None:
        study['analyses'] = list(ANALYSES) if analyses == ['all'] else list(analyses)
        _check_analyses(study, '--analyses')
    if nproc is not None:
        if nproc < 1:
            raise StudyError(f'--nproc {nproc}: at least one process is needed')
        study['nproc'] = nproc
    return study


def _check(study: dict[str, Any], path: Path) -> None:
    for key, value in study.items():
        if key == 'file':
            continue
        if key not in _KEYS:
            raise StudyError(f'{path}: unknown key {key!r}; known: {", ".join(_KEYS)}')
        if not isinstance(value, _KEYS[key]):
            raise StudyError(f'{path}: {key} = {value!r} has the wrong type')
    for key in ('encoders', 'tasks'):
        if not study.get(key):
            raise StudyError(f'{path}: {key} must name at least one')
        for name, entry in study[key].items():
            if not re.fullmatch(r'[\w.-]+', name):
                raise StudyError(f'{path}: {key}: {name!r} cannot be a folder name')
            _check_entry(path, key, name, entry)
    if study['baseline'] not in study['encoders']:
        raise StudyError(
            f'{path}: baseline = {study["baseline"]!r} is not one of the encoders '
            f'{", ".join(study["encoders"])}'
        )
    seeds = study['seeds']
    if not seeds or len(set(seeds)) != len(seeds):
        raise StudyError(f'{path}: seeds = {seeds} must be different and at least one')
    _check_analyses(study, str(path))


def _check_entry(path: Path, key: str, name: str, entry: dict) -> None:
    known = _ENCODER_KEYS if key == 'encoders' else _TASK_KEYS
    unknown = sorted(set(entry) - known)
    if unknown:
        raise StudyError(
            f'{path}: {key}.{name}: unknown key {unknown[0]!r}; '
            f'known: {", ".join(sorted(known))}'
        )
    if key == 'encoders':
        ways = [way for way in _WAYS if way in entry]
        if len(ways) != 1:
            raise StudyError(
                f'{path}: encoders.{name} needs exactly one of {", ".join(_WAYS)}; '
                f'it has {", ".join(ways) or "none"}'
            )
    else:
        for needed in ('config', 'metrics'):
            if not entry.get(needed):
                raise StudyError(f'{path}: tasks.{name} needs {needed!r}')


def _check_analyses(study: dict[str, Any], where: str) -> None:
    unknown = [name for name in study['analyses'] if name not in ANALYSES]
    if unknown:
        raise StudyError(
            f'{where}: unknown analysis {unknown[0]!r}; '
            f'known: all, {", ".join(ANALYSES)}'
        )
