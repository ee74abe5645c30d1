"""Gather what the steps of a study left on disk into one dictionary."""

import contextlib
import shlex
from statistics import fmean
from typing import Any

from mmgcp.engine.training_log import TrainingLogError, read_training_log
from mmgcp.utils.collect_env import collect_env
from mmgcp.utils.files import read_json

from .derived_config import shown
from .plan import PRETRAIN, metrics_of, task_names
from .statistics import paired_difference, summarize
from .step import TRAININGS, Step, hash_steps, launched

_VAL_SPLIT_NOTE = (
    'Tables: the test data of each config. Curves and pictures: its validation data.'
)
_NO_METRICS = ('time', 'data_time', 'step', 'memory')


def collect(study: dict[str, Any], steps: list[Step]) -> dict[str, Any]:
    """Gather results, curves, costs and where each number comes from.

    A step that is not done is listed as such and gives no numbers. ``results`` depends
    on configs, data and seeds alone; what is measured in seconds is elsewhere.

    Returns:
        The content of ``report.json``.
    """
    hashes = hash_steps(steps)
    done = [step for step in steps if step.is_done(hashes[step.name])]
    tasks = task_names(study, steps)
    content: dict[str, Any] = {
        'study': {
            'name': study['name'],
            'title': study['title'],
            'config': study['file'],
            'baseline': study['baseline'],
            'seeds': study['seeds'],
            'encoders': {
                name: entry.get('label', name)
                for name, entry in study['encoders'].items()
            },
            'tasks': {},
        },
        'results': {},
        'curves': {},
        'training': {},
        'costs': _read_by_task(done, 'costs'),
        'pictures': _read_by_task(done, 'pictures'),
        'analyses': [_analysis(step) for step in done if step.kind == 'analysis'],
        'own_data': next(
            (read_json(s.result) for s in done if s.kind == 'check'), None
        ),
        'reference_tables': study['reference_tables'],
        'steps': [_trace(step, step in done) for step in steps],
        'environment': collect_env(),
        'notes': [_VAL_SPLIT_NOTE],
    }
    for task in tasks:
        trained = [s for s in steps if s.kind in TRAININGS and s.meta['task'] == task]
        label = 'pre-training'
        if task != PRETRAIN:
            label = study['tasks'][task].get('label', task)
        content['study']['tasks'][task] = {
            'label': label,
            'config': list(dict.fromkeys(step.meta['config'] for step in trained)),
        }
        content['results'][task] = _results(study, done, task)
        logs = [(step, _log(step)) for step in trained if step in done]
        content['curves'][task] = _curves(logs)
        content['training'][task] = _training(logs)
    return content


def scale_of(metric: str) -> float:
    """CocoMetric gives fractions; like the papers, the report prints percent."""
    return 100.0 if metric.startswith('coco/') else 1.0


def _read_by_task(done: list[Step], kind: str) -> dict[str, Any]:
    return {s.meta['task']: read_json(s.result) for s in done if s.kind == kind}


def _results(study: dict[str, Any], done: list[Step], task: str) -> dict[str, dict]:
    """Table of each metric: encoders with mean, spread, difference to the baseline."""
    tables = {}
    evaluations = [
        (step.meta['encoder'], step.meta['seed'], read_json(step.result))
        for step in done
        if step.kind == 'evaluate' and step.meta['task'] == task
    ]
    for metric, label in metrics_of(study, task).items():
        values: dict[str, dict[int, float]] = {}
        for encoder, seed, measured in evaluations:
            if measured.get(metric) is not None:
                value = measured[metric] * scale_of(metric)
                values.setdefault(encoder, {})[seed] = value
        rows = {}
        for name in study['encoders']:
            if name in values:
                rows[name] = summarize(values[name])
                rows[name]['difference'] = None
                if name != study['baseline']:
                    baseline = values.get(study['baseline'], {})
                    difference = paired_difference(values[name], baseline)
                    rows[name]['difference'] = difference
        tables[metric] = {'label': label, 'encoders': rows}
    return tables


def _log(step: Step) -> list[dict]:
    with contextlib.suppress(TrainingLogError):
        return read_training_log(step.work_dir)
    return []


def _curves(logs: list[tuple[Step, list[dict]]]) -> dict[str, dict]:
    """Points of each logged value by name, encoder and seed."""
    curves: dict[str, dict] = {}
    for step, log in logs:
        for record in log:
            for key, value in record.items():
                name = key
                if 'loss' in record:
                    if key != 'loss':
                        continue
                    name = 'training loss'
                elif key in _NO_METRICS or not isinstance(value, int | float):
                    continue
                points = curves.setdefault(name, {})
                points = points.setdefault(step.meta['encoder'], {})
                points = points.setdefault(step.meta['seed'], [])
                points.append([record['step'], value * scale_of(key)])
                points.sort()
    return curves


def _training(logs: list[tuple[Step, list[dict]]]) -> dict[str, dict]:
    """Speed and wall time of the trainings, as their logs have them."""
    rows: dict[str, dict] = {}
    for step, log in logs:
        record = step.record()
        times = [r['time'] for r in log if 'loss' in r and 'time' in r]
        # The first record holds the start: data loading, allocation.
        seconds = fmean(times[1:] or times) if times else None
        rows.setdefault(step.meta['encoder'], {})[step.meta['seed']] = {
            'wall_seconds': record['seconds'],
            'attempts': record['attempts'],
            'images_per_second': step.meta['batch_size'] / seconds if seconds else None,
            'threads': record['env'].get('OMP_NUM_THREADS'),
        }
    return rows


def _analysis(step: Step) -> dict[str, Any]:
    picture = step.result.with_suffix('.png')
    return {
        'name': step.meta['analysis'],
        'task': step.meta['task'],
        'json': shown(step.result),
        'picture': shown(picture) if picture.is_file() else None,
        'result': read_json(step.result),
    }


def _trace(step: Step, done: bool) -> dict[str, Any]:
    """Where the numbers of a step come from, or why there are none."""
    record = step.record() if done else {}
    attempts = step.history().get('attempts', [])
    state = 'done' if done else 'not run'
    if not done and attempts:
        last = attempts[-1]
        state = 'out of date' if 'ended' in last else 'interrupted'
        if last.get('problem'):
            state = f'failed ({last["problem"]})'
    fingerprint = record.get('result', {}).get('fingerprint') or {}
    inputs = record.get('inputs', {})
    return {
        'name': step.name,
        'kind': step.kind,
        'state': state,
        'command': shlex.join(launched(step.command, step.processes)),
        'env': record.get('env'),
        'config': step.meta.get('config'),
        'config_used': next((shown(path) for path in step.files), None),
        'log': shown(step.log) if attempts else None,
        'result': shown(step.result),
        'result_sha256': fingerprint.get('sha256'),
        'inputs': {path: value['sha256'] for path, value in inputs.items()},
        'seconds': record.get('seconds'),
        'started': record.get('started'),
        'ended': record.get('ended'),
    }
