"""Gather what the steps of a study left on disk into one dictionary."""

import json
import shlex
from pathlib import Path
from statistics import fmean
from typing import Any

from mmgcp.utils.collect_env import collect_env

from .recipe import shown
from .statistics import paired_difference, summarise
from .step import ATTEMPTS, Step, hash_steps, order, read_json

PRETRAIN = 'pretrain'
_PRETRAIN_METRICS = {'accuracy/top1': 'top-1 accuracy (%)'}
_VAL_SPLIT_NOTE = (
    'Tables: the test data of each config. Curves and pictures: its validation data.'
)


def collect(study: dict[str, Any], steps: list[Step]) -> dict[str, Any]:
    """Gather results, curves, costs and where each number comes from.

    Args:
        study: The study as selected.
        steps: Its plan; a step that is not done is listed as such and gives no
            numbers.

    Returns:
        The content of ``report.json``. ``results`` depends on configs, data and
        seeds alone; everything that is measured in seconds is elsewhere.
    """
    hashes = hash_steps(steps)
    done = {step.name for step in steps if step.is_done(hashes[step.name])}
    finished = [step for step in order(steps) if step.name in done]
    return {
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
            'tasks': {
                name: {
                    'label': task_label(study, name),
                    'config': _config_of(steps, name),
                }
                for name in task_names(study, steps)
            },
        },
        'results': {
            task: _results(study, finished, task) for task in task_names(study, steps)
        },
        'curves': {task: _curves(finished, task) for task in task_names(study, steps)},
        'costs': {
            step.meta['task']: read_json(step.result)
            for step in finished
            if step.kind == 'costs'
        },
        'training': {
            task: _training(finished, task) for task in task_names(study, steps)
        },
        'pictures': {
            step.meta['task']: read_json(step.result)
            for step in finished
            if step.kind == 'pictures'
        },
        'analyses': [_analysis(step) for step in finished if step.kind == 'analysis'],
        'own_data': _own_data(finished),
        'reference_tables': study['reference_tables'],
        'steps': [_trace(step, step.name in done) for step in order(steps)],
        'environment': collect_env(),
        'notes': [_VAL_SPLIT_NOTE],
    }


def task_names(study: dict[str, Any], steps: list[Step]) -> list[str]:
    """Tasks of the report; pre-training is the first when the study does it."""
    first = [PRETRAIN] if any(step.kind == PRETRAIN for step in steps) else []
    return first + list(study['tasks'])


def task_label(study: dict[str, Any], task: str) -> str:
    if task == PRETRAIN:
        return 'pre-training'
    return study['tasks'][task].get('label', task)


def metrics_of(study: dict[str, Any], task: str) -> dict[str, str]:
    """Metric keys of a task and how to call them, the main one first."""
    if task == PRETRAIN:
        for entry in study['encoders'].values():
            if 'metrics' in entry:
                return entry['metrics']
        return _PRETRAIN_METRICS
    return study['tasks'][task]['metrics']


def scale_of(metric: str) -> float:
    """CocoMetric gives fractions; like the papers, the report prints percent."""
    return 100.0 if metric.startswith('coco/') else 1.0


def _config_of(steps: list[Step], task: str) -> list[str]:
    kinds = (PRETRAIN, 'transfer')
    found = (s for s in steps if s.kind in kinds and s.meta['task'] == task)
    return list(dict.fromkeys(step.meta['config'] for step in found))


def _results(study: dict[str, Any], finished: list[Step], task: str) -> dict:
    tables = {}
    evaluations = [
        step
        for step in finished
        if step.kind == 'evaluate' and step.meta['task'] == task
    ]
    for metric, label in metrics_of(study, task).items():
        values: dict[str, dict[int, float]] = {}
        for step in evaluations:
            value = (read_json(step.result) or {}).get(metric)
            if value is not None:
                by_seed = values.setdefault(step.meta['encoder'], {})
                by_seed[step.meta['seed']] = value * scale_of(metric)
        tables[metric] = {
            'label': label,
            'encoders': _compare(values, study['baseline'], list(study['encoders'])),
        }
    return tables


def _compare(values: dict, baseline: str, names: list[str]) -> dict[str, dict]:
    rows = {}
    for name in names:
        if name not in values:
            continue
        row: dict[str, Any] = summarise(values[name]).to_dict()
        row['difference'] = None
        if name != baseline and baseline in values:
            difference = paired_difference(values[name], values[baseline])
            if difference is not None:
                row['difference'] = {
                    **difference.to_dict(),
                    'verdict': difference.verdict(),
                }
        rows[name] = row
    return rows


def scalars(work_dir: Path) -> list[dict]:
    """Records of mmengine's logs of a training, killed attempts included.

    A resumed training writes a new file; what it did again replaces what the
    attempt before wrote for the same step.
    """
    merged: dict[tuple, dict] = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the last line of a killed attempt may be cut
            merged['loss' in record, record.get('step')] = record
    return list(merged.values())


def _curves(finished: list[Step], task: str) -> dict[str, dict]:
    curves: dict[str, dict] = {}
    for step in finished:
        if step.kind not in (PRETRAIN, 'transfer') or step.meta['task'] != task:
            continue
        for record in scalars(step.work_dir):
            for key, value in record.items():
                kind = 'loss' in record
                if not isinstance(value, int | float) or key not in _curve_keys(record):
                    continue
                name = 'training loss' if kind else key
                curve = curves.setdefault(name, {}).setdefault(step.meta['encoder'], {})
                points = curve.setdefault(step.meta['seed'], [])
                points.append([record['step'], value * scale_of(key)])
    for encoders in curves.values():
        for seeds in encoders.values():
            for points in seeds.values():
                points.sort()
    return curves


def _curve_keys(record: dict) -> list[str]:
    if 'loss' in record:
        return ['loss']
    return [key for key in record if key not in ('time', 'data_time', 'step', 'memory')]


def _training(finished: list[Step], task: str) -> dict[str, dict]:
    """Speed and wall time of the trainings, as their logs have them."""
    rows: dict[str, dict] = {}
    for step in finished:
        if step.kind not in (PRETRAIN, 'transfer') or step.meta['task'] != task:
            continue
        record = step.record() or {}
        times = [
            r['time'] for r in scalars(step.work_dir) if 'loss' in r and 'time' in r
        ]
        # The first record holds the start: data loading, allocation.
        seconds = fmean(times[1:] or times) if times else None
        rows.setdefault(step.meta['encoder'], {})[step.meta['seed']] = {
            'wall_seconds': record.get('seconds'),
            'attempts': record.get('attempts'),
            'images_per_second': step.meta['batch_size'] / seconds if seconds else None,
            'threads': (record.get('env') or {}).get('OMP_NUM_THREADS'),
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


def _own_data(finished: list[Step]) -> dict | None:
    for step in finished:
        if step.kind == 'check':
            return read_json(step.result)
    return None


def _trace(step: Step, done: bool) -> dict[str, Any]:
    record = step.record() or {}
    attempts = (read_json(step.work_dir / ATTEMPTS) or {}).get('attempts', [])
    state = 'done' if done else 'not run'
    if not done and attempts:
        status = attempts[-1].get('status')
        state = 'interrupted' if status is None else f'failed (status {status})'
        if status == 0:
            state = 'out of date'
    fingerprint = record.get('result', {}).get('fingerprint') if done else None
    return {
        'name': step.name,
        'kind': step.kind,
        'state': state,
        'command': shlex.join(step.command),
        'env': record.get('env') if done else None,
        'config': step.meta.get('config'),
        'config_used': next((shown(path) for path in step.files), None),
        'log': shown(step.log) if attempts else None,
        'result': shown(step.result),
        'result_sha256': fingerprint['sha256'] if fingerprint else None,
        'inputs': {
            path: value['sha256'] for path, value in record.get('inputs', {}).items()
        }
        if done
        else {},
        'seconds': record.get('seconds') if done else None,
        'started': record.get('started') if done else None,
        'ended': record.get('ended') if done else None,
    }
