"""Gather what the steps of a study left on disk into one dictionary."""

import contextlib
import shlex
from dataclasses import asdict
from statistics import fmean
from typing import Any

from mmgcp.analysis.convergence import area_under, matching_step
from mmgcp.analysis.frozen import SCORES
from mmgcp.analysis.statistics import Comparison, adjusted, compare, summarize
from mmgcp.analysis.transferability import rank_correlation
from mmgcp.engine.training_log import TrainingLogError, read_training_log
from mmgcp.utils.collect_env import collect_env
from mmgcp.utils.files import read_json

from .config import CONVERGENCE, contrasts, margin_of
from .derived_config import shown
from .plan import BOOTSTRAP, PRETRAIN, metrics_of, task_names
from .step import TRAININGS, Step, hash_steps, launched

_NO_METRICS = ('time', 'data_time', 'step', 'memory')
#: Key of the table that tells when an encoder reaches the end of the baseline's curve.
MATCHING = 'matching'
#: What is measured without fine-tuning and may say what fine-tuning will reach.
_PREDICTORS = (*SCORES, 'knn/accuracy', 'logistic/accuracy')


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
            'hash': study['hash'],
            'baseline': study['baseline'],
            'seeds': study['seeds'],
            'primary': study['primary'],
            'margin': study['margin'],
            'comparison': study['comparison'],
            'contrasts': contrasts(study),
            'encoders': {n: e.get('label', n) for n, e in study['encoders'].items()},
            'tasks': {},
        },
        'results': {},
        'curves': {},
        'training': {},
        'test_images': {},
        'costs': {},
        'pictures': {},
        'analyses': [_analysis(step) for step in done if step.kind == 'analysis'],
        'own_data': next(
            (read_json(s.result) for s in done if s.kind == 'check'), None
        ),
        'reference_tables': study['reference_tables'],
        'steps': [_trace(step, step in done) for step in steps],
        'environment': collect_env(),
        'notes': _notes(study),
    }
    for step in done:
        if step.kind in ('costs', 'pictures'):
            report[step.kind][step.meta['task']] = read_json(step.result)
        if step.meta.get('analysis') == BOOTSTRAP:
            found = read_json(step.result)
            report['test_images'][step.meta['task']] = {
                key: found[key] for key in ('images', 'resamples', 'metrics')
            }
    values = {}
    for task in task_names(study, steps):
        trained = [s for s in steps if s.kind in TRAININGS and s.meta['task'] == task]
        measured = [s for s in steps if 'metrics' in s.meta and s.meta['task'] == task]
        logs = [(step, _log(step)) for step in trained if step in done]
        rates = _choose_rates(logs, next(iter(metrics_of(study, task))))
        logs = [(step, log) for step, log in logs if _is_chosen(step, rates)]
        label = 'pre-training'
        if task != PRETRAIN:
            label = study['tasks'][task].get('label', task)
        report['study']['tasks'][task] = {
            'label': label,
            'config': list(dict.fromkeys(step.meta['config'] for step in measured)),
            'recipe': list(dict.fromkeys(step.meta['recipe'] for step in trained)),
            'rates': rates,
        }
        report['curves'][task] = _curves(logs)
        report['training'][task] = _training(logs)
        tested = [step for step in done if _is_chosen(step, rates)]
        values[task] = _values(study, tested, task)
        by_epoch = any(step.meta.get('max_epochs') for step in trained)
        values[task] |= _convergence(study, report['curves'][task], task, by_epoch)
    report['results'] = tables_of(values, report['study'], report['test_images'])
    report['agreement'] = _agreement(study, report['results'])
    return report


def _notes(study: dict[str, Any]) -> list[str]:
    """What the reader of every table has to know."""
    notes = [
        'Tables: the test data of each config. Curves, what is said about convergence, '
        'and pictures: its validation data.'
    ]
    about: dict[str, list[str]] = {}
    for name, entry in study['encoders'].items():
        source = 'fine-tuning only, because the encoder is a given file'
        if 'pretrain' in entry:
            source = 'the seeds of pre-training and transfer together'
        elif 'init_cfg' in entry and entry['init_cfg'] is None:
            source = 'the seeds of initialization and training'
        about.setdefault(source, []).append(entry.get('label', name))
    for source, names in about.items():
        notes.append(f'Intervals of {", ".join(names)} are about {source}.')
    paired = study['comparison'] == 'paired'
    notes.append(
        f'Comparisons are {"paired by seed" if paired else "of two groups (Welch)"}. '
        + (
            f'Primary end-points: {", ".join(study["primary"])}; their p values are '
            'adjusted by Holm over all comparisons of all of them. '
            'Other comparisons are exploratory.'
            if study['primary']
            else 'The study names no primary end-point: no p value is adjusted for the '
            'number of comparisons.'
        )
    )
    return notes


def scale_of(metric: str) -> float:
    """CocoMetric gives fractions; like the papers, the report prints percent."""
    return 100.0 if metric.startswith('coco/') else 1.0


def _values(study: dict[str, Any], done: list[Step], task: str) -> dict[str, dict]:
    """Each metric of a task on test data, by encoder and seed."""
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
        tables[metric] = {'label': label, 'encoders': values}
    return tables


def _convergence(
    study: dict[str, Any], curves: dict[str, dict], task: str, by_epoch: bool
) -> dict[str, dict]:
    """Mean height of the validation curve of a task's first metric, and when it first
    reaches what the baseline of the same seed ends with, by encoder and seed."""
    metric, label = next(iter(metrics_of(study, task).items()))
    if metric not in curves:
        return {}
    curve: dict[str, dict[int, Any]] = {
        name: {seed: tuple(zip(*points, strict=True)) for seed, points in seeds.items()}
        for name, seeds in curves[metric].items()
    }
    tables = {
        CONVERGENCE: {
            'label': f'mean height of the validation curve, {label}',
            'encoders': {
                name: {seed: area_under(*points) for seed, points in seeds.items()}
                for name, seeds in curve.items()
            },
        }
    }
    ends = {
        s: values[-1] for s, (_, values) in curve.get(study['baseline'], {}).items()
    }
    if ends:
        unit = 'epoch' if by_epoch else 'iteration'
        baseline = study['encoders'][study['baseline']].get('label', study['baseline'])
        tables[MATCHING] = {
            'label': f'first {unit} that reaches the end of the curve of {baseline}',
            'encoders': {
                name: {
                    seed: matching_step(steps, values, ends[seed])
                    for seed, (steps, values) in seeds.items()
                    if seed in ends
                }
                for name, seeds in curve.items()
            },
        }
    return tables


def tables_of(
    values: dict[str, dict],
    design: dict[str, Any],
    test_images: dict[str, dict] | None = None,
) -> dict[str, dict]:
    """Summaries and comparisons of what was measured.

    Args:
        values: By task and metric: ``label``, and by encoder and seed the ``encoders``.
            None is a curve that never gets where it should; it has no mean.
        design: The part ``study`` of a report or record.
        test_images: What the analysis ``bootstrap`` found, by task.
    """
    tables: dict[str, dict] = {}
    compared: list[tuple[dict, dict[str, str], Comparison, str]] = []
    for task, metrics in values.items():
        for metric, entry in metrics.items():
            point, rows = f'{task}/{metric}', entry['encoders']
            table = {
                'label': entry['label'],
                'primary': point in design['primary'],
                'encoders': {n: _summary(row) for n, row in rows.items() if row},
                'comparisons': [],
            }
            tables.setdefault(task, {})[metric] = table
            paired, margin = design['comparison'] == 'paired', margin_of(design, point)
            for one, two in design['contrasts'] if metric != MATCHING else []:
                found = compare(rows.get(one, {}), rows.get(two, {}), paired, margin)
                if found:
                    pair = {'encoder': one, 'reference': two}
                    errors = _two_errors(test_images, task, metric, pair, found)
                    compared.append((table, pair, found, errors))
    primary = [found for table, _, found, _ in compared if table['primary']]
    corrected = iter(adjusted(primary))
    for table, pair, found, errors in compared:
        if table['primary']:
            found = next(corrected)
        one, two = (design['encoders'][name] for name in pair.values())
        table['comparisons'].append(
            {
                **pair,
                **asdict(found),
                'verdict': found.verdict,
                'sentence': found.sentence(one, two, table['label']) + errors,
            }
        )
    return tables


def _two_errors(
    test_images: dict[str, dict] | None,
    task: str,
    metric: str,
    pair: dict[str, str],
    found: Comparison,
) -> str:
    """The standard errors of a difference, if the one from the images is known."""
    measured = (test_images or {}).get(task, {'metrics': {}})
    one, two = pair.values()
    row = measured['metrics'].get(metric, {}).get(one, {'differences': {}})
    if two not in row['differences']:
        return ''
    seeds, error = 'unknown', row['differences'][two] * scale_of(metric)
    if found.standard_error is not None:
        seeds = f'{found.standard_error:.2f}'
    return (
        f' The standard error of the difference is {error:.2f} from the '
        f'{measured["images"]} test images ({measured["resamples"]} resamples), and '
        f'{seeds} from the seeds.'
    )


def _agreement(study: dict[str, Any], results: dict[str, dict]) -> list[dict]:
    """Rank correlation of what was measured frozen with the fine-tuned end-points.

    Over the means of the encoders, and over all encoders and seeds.
    """
    tables = [
        (task, metric, study['tasks'].get(task, {}).get('protocol'), table)
        for task, metrics in results.items()
        for metric, table in metrics.items()
    ]
    predictors = [
        (metric, table)
        for _, metric, protocol, table in tables
        if protocol == 'features' and metric in _PREDICTORS
    ]
    tuned = [
        (f'{task}/{metric}', table)
        for task, metric, protocol, table in tables
        if table['primary'] and not protocol and task != PRETRAIN
    ]
    rows = []
    for metric, one in predictors:
        for point, other in tuned:
            means, runs = [], []
            for name, row in one['encoders'].items():
                reached = other['encoders'].get(name, {}).get('values', {})
                pairs = [
                    (v, reached[s]) for s, v in row['values'].items() if s in reached
                ]
                runs += pairs
                if pairs:
                    means.append([fmean(side) for side in zip(*pairs, strict=True)])
            if means:
                rows.append(
                    {
                        'score': metric,
                        'end_point': point,
                        'labels': [one['label'], other['label']],
                        'encoders': rank_correlation(*zip(*means, strict=True)),
                        'runs': rank_correlation(*zip(*runs, strict=True)),
                    }
                )
    return rows


def _summary(row: dict[int, float | None]) -> dict[str, Any]:
    known = {seed: value for seed, value in row.items() if value is not None}
    if len(known) == len(row):
        return asdict(summarize(known))
    return {'values': row, 'mean': None, 'spread': None, 'interval': None}


def _choose_rates(logs: list[tuple[Step, list[dict]]], metric: str) -> dict[str, dict]:
    """Of a task with several learning rates the best one of each encoder.

    Chosen by the final validation value, mean over seeds; test data have no say.
    """
    ends: dict[str, dict[float, list[float]]] = {}
    for step, log in logs:
        curve = {r['step']: r[metric] for r in log if 'loss' not in r and metric in r}
        if 'lr' in step.meta and curve:
            rates = ends.setdefault(step.meta['encoder'], {})
            end = curve[max(curve)] * scale_of(metric)
            rates.setdefault(step.meta['lr'], []).append(end)
    means = {
        encoder: {rate: fmean(values) for rate, values in rates.items()}
        for encoder, rates in ends.items()
    }
    return {
        encoder: {'chosen': max(rates, key=rates.__getitem__), 'validation': rates}
        for encoder, rates in means.items()
    }


def _is_chosen(step: Step, rates: dict[str, dict]) -> bool:
    """Whether a step has the learning rate of its encoder, or there is no choice."""
    chosen = rates.get(step.meta.get('encoder', ''), {})
    return step.meta.get('lr') == chosen.get('chosen')


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
