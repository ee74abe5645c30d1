"""Gather what the steps of a study left on disk into one dictionary."""

import contextlib
import shlex
from statistics import fmean
from typing import Any

from mmgcp.analysis.convergence import TRAINING_LOSS, validation_curves, values_of
from mmgcp.analysis.frozen import SCORES
from mmgcp.analysis.tables import scale_of, tables_of
from mmgcp.analysis.transferability import agreement
from mmgcp.engine.training_log import TrainingLogError, read_training_log
from mmgcp.utils.collect_env import collect_env
from mmgcp.utils.files import read_json

from .config import contrasts
from .derived_config import shown
from .plan import BOOTSTRAP, PRETRAIN, metrics_of, task_names
from .step import TRAININGS, Step, hash_steps, launched

#: What is measured without fine-tuning and may say what fine-tuning will reach.
_PREDICTORS = (*SCORES, 'knn/accuracy', 'logistic/accuracy')
#: What comparisons need of the analysis ``bootstrap``.
_OF_IMAGES = ('images', 'resamples', 'metrics')
#: Trainings that are done, and the records of their logs.
Runs = list[tuple[Step, list[dict]]]
#: What a report and a record keep of the study file as it is.
_KEPT = ('name', 'title', 'baseline', 'seeds', 'primary', 'margin', 'comparison')


def collect(study: dict[str, Any], steps: list[Step]) -> dict[str, Any]:
    """Gather the content of ``report.json``.

    A step that is not done is listed as such and gives no numbers. ``results`` depends
    on configs, data and seeds alone; what is measured in seconds is elsewhere.
    """
    hashes = hash_steps(steps)
    done = [step for step in steps if step.is_done(hashes[step.name])]
    design = {
        **{key: study[key] for key in _KEPT},
        'config': study['file'],
        'hash': study['hash'],
        'contrasts': contrasts(study),
        'encoders': {n: e.get('label', n) for n, e in study['encoders'].items()},
        'tasks': {},
    }
    analyses = [_analysis(step) for step in done if step.kind == 'analysis']
    report: dict[str, Any] = {
        'study': design,
        'curves': {},
        'training': {},
        'test_images': {
            found['task']: {key: found['result'][key] for key in _OF_IMAGES}
            for found in analyses
            if found['name'] == BOOTSTRAP
        },
        'costs': _by_task(done, 'costs'),
        'pictures': _by_task(done, 'pictures'),
        'analyses': analyses,
        'own_data': next(
            (read_json(s.result) for s in done if s.kind == 'check'), None
        ),
        'reference_tables': study['reference_tables'],
        'steps': [_trace(step, step in done) for step in steps],
        'environment': collect_env(),
        'notes': _notes(study),
    }
    values = {}
    for task in task_names(study, steps):
        own = [step for step in steps if step.meta.get('task') == task]
        trained = [step for step in own if step.kind in TRAININGS]
        measured = [step for step in own if 'metrics' in step.meta]
        runs = [(step, _log(step)) for step in trained if step in done]
        metric, name = next(iter(metrics_of(study, task).items()))
        rates = _choose_rates(runs, metric)
        runs = [(step, log) for step, log in runs if _is_chosen(step, rates)]
        entry = study['tasks'].get(task, {'label': 'pre-training'})
        design['tasks'][task] = {
            'label': entry.get('label', task),
            'config': list(dict.fromkeys(step.meta['config'] for step in measured)),
            'recipe': list(dict.fromkeys(step.meta['recipe'] for step in trained)),
            'rates': rates,
        }
        report['curves'][task] = curves = _curves(runs)
        report['training'][task] = _training(runs)
        tested = [s for s in measured if s in done and _is_chosen(s, rates)]
        values[task] = _values(study, tested, task)
        if metric in curves:
            unit = 'epoch' if trained[0].meta['max_epochs'] else 'iteration'
            labels, baseline = design['encoders'], study['baseline']
            values[task] |= values_of(curves[metric], baseline, labels, name, unit)
    report['results'] = tables_of(values, design, report['test_images'])
    report['agreement'] = _agreement(study, report['results'])
    return report


def _by_task(done: list[Step], kind: str) -> dict[str, Any]:
    return {s.meta['task']: read_json(s.result) for s in done if s.kind == kind}


def _notes(study: dict[str, Any]) -> list[str]:
    """What the reader of every table has to know."""
    notes = [
        'Tables show test data. Curves, convergence and pictures show validation data.'
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
        notes.append(f'Intervals of {"; ".join(names)} are about {source}.')
    paired = study['comparison'] == 'paired'
    notes.append(
        f'Comparisons are {"paired by seed" if paired else "of two groups (Welch)"}. '
        + (
            f'Primary end-points: {", ".join(study["primary"])}. The p values of all '
            'their comparisons are Holm-adjusted together. Other comparisons are '
            'exploratory.'
            if study['primary']
            else 'The study names no primary end-point: no p value is adjusted for the '
            'number of comparisons.'
        )
    )
    return notes


def _values(study: dict[str, Any], tested: list[Step], task: str) -> dict[str, dict]:
    """Each metric of a task on test data, by encoder and seed."""
    tables: dict[str, dict] = {
        metric: {'label': label, 'encoders': {name: {} for name in study['encoders']}}
        for metric, label in metrics_of(study, task).items()
    }
    for step in tested:
        measured = read_json(step.result)
        for metric, table in tables.items():
            if measured.get(metric) is not None:
                row = table['encoders'][step.meta['encoder']]
                row[step.meta['seed']] = measured[metric] * scale_of(metric)
    return tables


def _agreement(study: dict[str, Any], results: dict[str, dict]) -> list[dict]:
    """Rank correlation of what was measured frozen with the fine-tuned end-points."""
    scores, reached = [], []
    for task, tables in results.items():
        protocol = study['tasks'].get(task, {}).get('protocol')
        for metric, table in tables.items():
            if protocol == 'features' and metric in _PREDICTORS:
                scores.append((metric, table))
            elif table['primary'] and not protocol and task != PRETRAIN:
                reached.append((f'{task}/{metric}', table))
    return agreement(scores, reached)


def _choose_rates(runs: Runs, metric: str) -> dict[str, dict]:
    """Of a task with several learning rates the best one of each encoder.

    Chosen by the final validation value, mean over seeds; test data have no say.
    """
    ends: dict[str, dict[float, list[float]]] = {}
    for step, log in runs:
        curve = validation_curves(log).get(metric)
        if 'lr' in step.meta and curve:
            rates = ends.setdefault(step.meta['encoder'], {})
            end = curve[max(curve)] * scale_of(metric)
            rates.setdefault(step.meta['lr'], []).append(end)
    found = {}
    for encoder, rates in ends.items():
        means = {rate: fmean(values) for rate, values in rates.items()}
        found[encoder] = {
            'chosen': max(means, key=means.__getitem__),
            'validation': means,
        }
    return found


def _is_chosen(step: Step, rates: dict[str, dict]) -> bool:
    """Whether a step has the learning rate of its encoder, or there is no choice."""
    chosen = rates.get(step.meta['encoder'], {})
    return step.meta.get('lr') == chosen.get('chosen')


def _log(step: Step) -> list[dict]:
    with contextlib.suppress(TrainingLogError):
        return read_training_log(step.work_dir)
    return []


def _curves(runs: Runs) -> dict[str, dict]:
    """Points of each logged value by name, encoder and seed."""
    curves: dict[str, dict] = {}
    for step, log in runs:
        found = validation_curves(log)
        found[TRAINING_LOSS] = {r['step']: r['loss'] for r in log if 'loss' in r}
        for name, curve in found.items():
            points = [[at, value * scale_of(name)] for at, value in curve.items()]
            if points:
                seeds = curves.setdefault(name, {}).setdefault(step.meta['encoder'], {})
                seeds[step.meta['seed']] = points
    return curves


def _training(runs: Runs) -> dict[str, dict]:
    """Speed and wall time of the trainings, as their logs have them."""
    rows: dict[str, dict] = {}
    for step, log in runs:
        times = [r['time'] for r in log if 'loss' in r and 'time' in r]
        # The first record holds the start: data loading, allocation.
        seconds = fmean(times[1:] or times) if times else None
        rows.setdefault(step.meta['encoder'], {})[step.meta['seed']] = {
            'wall_seconds': step.record()['seconds'],
            'images_per_second': step.meta['batch_size'] / seconds if seconds else None,
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
        'log': shown(step.log) if last else None,
        'result': shown(step.result),
        'result_sha256': result.get('sha256'),
        'inputs': {path: value['sha256'] for path, value in inputs.items()},
        'seconds': record.get('seconds'),
        'ended': record.get('ended'),
    }


def seconds_of_a_seed(steps: list[Step], task: str, encoder: str) -> float:
    """Mean of what one seed of an encoder takes, from pre-training to evaluation."""
    seconds: dict[int, float] = {}
    for step in steps:
        meta = step.meta
        if meta.get('encoder') == encoder and meta['task'] in (task, PRETRAIN):
            took = step.record().get('seconds', 0.0)
            seconds[meta['seed']] = seconds.get(meta['seed'], 0.0) + took
    return fmean(seconds.values())
