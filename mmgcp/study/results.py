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

_NO_METRICS = ('time', 'data_time', 'step', 'memory')


def collect(study: dict[str, Any], steps: list[Step]) -> dict[str, Any]:
    """Gather the content of ``report.json``.

    A step that is not done is listed as such and gives no numbers. ``results`` depends
    on configs, data and seeds alone; what is measured in seconds is elsewhere.
    """
    hashes = hash_steps(steps)
    done = [step for step in steps if step.is_done(hashes[step.name])]
    report: dict[str, Any] = {
        'study': {
            'name': study['name'],
            'title': study['title'],
            'config': study['file'],
            'baseline': study['baseline'],
            'seeds': study['seeds'],
            'encoders': {n: e.get('label', n) for n, e in study['encoders'].items()},
            'tasks': {},
        },
        'results': {},
        'curves': {},
        'training': {},
        'costs': {},
        'pictures': {},
        'analyses': [_analysis(step) for step in done if step.kind == 'analysis'],
        'own_data': next(
            (read_json(s.result) for s in done if s.kind == 'check'), None
        ),
        'reference_tables': study['reference_tables'],
        'steps': [_trace(step, step in done) for step in steps],
        'environment': collect_env(),
        'notes': [
            'Tables: the test data of each config. '
            'Curves and pictures: its validation data.'
        ],
    }
    for step in done:
        if step.kind in ('costs', 'pictures'):
            report[step.kind][step.meta['task']] = read_json(step.result)
    for task in task_names(study, steps):
        trained = [s for s in steps if s.kind in TRAININGS and s.meta['task'] == task]
        logs = [(step, _log(step)) for step in trained if step in done]
        label = 'pre-training'
        if task != PRETRAIN:
            label = study['tasks'][task].get('label', task)
        report['study']['tasks'][task] = {
            'label': label,
            'config': list(dict.fromkeys(step.meta['config'] for step in trained)),
            'recipe': list(dict.fromkeys(step.meta['recipe'] for step in trained)),
        }
        report['results'][task] = _results(study, done, task)
        report['curves'][task] = _curves(logs)
        report['training'][task] = _training(logs)
    return report


def scale_of(metric: str) -> float:
    """CocoMetric gives fractions; like the papers, the report prints percent."""
    return 100.0 if metric.startswith('coco/') else 1.0


def _results(study: dict[str, Any], done: list[Step], task: str) -> dict[str, dict]:
    """Table of each metric: encoders with mean, spread, difference to the baseline."""
    tables = {}
    evaluations = [
        (step.meta['encoder'], step.meta['seed'], read_json(step.result))
        for step in done
        if 'metrics' in step.meta and step.meta['task'] == task
    ]
    for metric, label in metrics_of(study, task).items():
        values: dict[str, dict[int, float]] = {name: {} for name in study['encoders']}
        for encoder, seed, measured in evaluations:
            if measured.get(metric) is not None:
                values[encoder][seed] = measured[metric] * scale_of(metric)
        baseline = values.get(study['baseline'], {})
        rows = {}
        for name, by_seed in values.items():
            if by_seed:
                compared = name != study['baseline']
                difference = paired_difference(by_seed, baseline) if compared else None
                rows[name] = {**summarize(by_seed), 'difference': difference}
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
        encoder, seed = step.meta['encoder'], step.meta['seed']
        for record in log:
            values = {k: v for k, v in record.items() if k not in _NO_METRICS}
            if 'loss' in record:
                values = {'training loss': record['loss']}
            for name, value in values.items():
                if isinstance(value, int | float):
                    seeds = curves.setdefault(name, {}).setdefault(encoder, {})
                    point = [record['step'], value * scale_of(name)]
                    seeds.setdefault(seed, []).append(point)
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
    last = step.history().get('attempts', [{}])[-1]
    state = 'done' if done else 'not run'
    if not done and last.get('problem'):
        state = f'failed ({last["problem"]})'
    elif not done and last:
        state = 'out of date' if 'ended' in last else 'interrupted'
    inputs = record.get('inputs', {})
    result = record.get('result', {}).get('fingerprint') or {}
    return {
        'name': step.name,
        'kind': step.kind,
        'state': state,
        'command': shlex.join(launched(step.command, step.processes)),
        'env': record.get('env'),
        'config': step.meta.get('config'),
        'config_used': next((shown(path) for path in step.files), None),
        'log': shown(step.log) if last else None,
        'result': shown(step.result),
        'result_sha256': result.get('sha256'),
        'inputs': {path: value['sha256'] for path, value in inputs.items()},
        'seconds': record.get('seconds'),
        'started': record.get('started'),
        'ended': record.get('ended'),
    }
