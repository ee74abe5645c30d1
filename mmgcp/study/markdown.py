"""The report as Markdown."""

from typing import Any

from .progress import format_seconds


def render_markdown(report: dict[str, Any]) -> str:
    """Write the report's numbers, pictures and commands as Markdown."""
    study = report['study']
    seeds = ', '.join(map(str, study['seeds']))
    parts = [
        f'# {study["title"]}\n',
        f'Study `{study["config"]}`, baseline {study["baseline"]}, seeds {seeds}.\n',
    ]
    parts += [f'{note}\n' for note in report['notes']]
    parts += _unfinished(report)
    for task, info in study['tasks'].items():
        parts.append(f'\n## {_title(info["label"])}\n')
        parts.append(f'Configs: {", ".join(f"`{c}`" for c in info["config"])}\n')
        for table in report['results'][task].values():
            parts.append(result_table(table, study))
        for name, title in report['figures'].items():
            if name.startswith(f'figures/{task}-'):
                parts.append(f'![{title}]({name})\n')
        parts += _costs(report, task)
        parts += _gallery(report, task)
    faults = data_faults(report)
    if faults:
        parts.append('\n## What was found in the data\n')
        parts.append('\n'.join(f'- {line}' for line in faults) + '\n')
    parts += _reference(report['reference_tables'])
    parts += _analyses(report['analyses'])
    parts.append('\n## Where every number comes from\n')
    parts.append(
        'Each step is an ordinary command, run from the folder the study was started '
        'in. The environment variables it ran with are in `report.json`.\n'
    )
    for step in report['steps']:
        parts.append(_step(step))
    parts.append('\n## Environment\n')
    rows = [[key, value] for key, value in report['environment'].items()]
    parts.append(table_text(['what', 'version'], rows))
    return '\n'.join(parts)


def table_text(head: list[str], rows: list[list]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ['| ' + ' | '.join(head) + ' |']
    lines.append('|---|' + '---:|' * (len(head) - 1))
    for row in rows:
        cells = (str(cell).replace('|', '\\|').replace('\n', ' ') for cell in row)
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def result_rows(table: dict, study: dict) -> list[list[str]]:
    """Rows of a result table: encoder, mean, spread, difference, interval, verdict."""
    rows = []
    for name, row in table['encoders'].items():
        spread = (
            'unknown: one seed' if row['spread'] is None else f'{row["spread"]:.2f}'
        )
        cells = [study['encoders'][name], f'{row["mean"]:.2f}', spread]
        difference = row['difference']
        if name == study['baseline']:
            cells += ['baseline', '', '']
        elif difference is None:
            cells += ['unknown', 'unknown', 'the baseline has no result']
        else:
            interval = difference['interval']
            text = 'unknown: one seed'
            if interval is not None:
                text = f'[{interval[0]:+.2f}, {interval[1]:+.2f}]'
            cells += [f'{difference["mean"]:+.2f}', text, difference['verdict']]
        rows.append([*cells, str(len(row['values']))])
    return rows


RESULT_HEAD = [
    'encoder',
    'mean',
    'spread over seeds',
    'difference to {baseline}',
    '95 % interval',
    'what can be said',
    'seeds',
]


def result_head(study: dict) -> list[str]:
    return [text.format(baseline=study['baseline']) for text in RESULT_HEAD]


def result_table(table: dict, study: dict) -> str:
    if not table['encoders']:
        return f'**{table["label"]}**: no result yet.\n'
    rows = result_rows(table, study)
    return f'**{table["label"]}**\n\n' + table_text(result_head(study), rows)


COST_HEAD = [
    'encoder',
    'parameters (M)',
    'of the encoder (M)',
    'multiply-adds (G)',
    'inference (images/s)',
    'training step (images/s)',
    'training as run (images/s)',
    'wall time of training',
]


def cost_rows(report: dict, task: str) -> list[list[str]]:
    """Rows of the cost table; what was not measured is a dash."""
    measured = (report['costs'].get(task) or {}).get('models', {})
    trained = report['training'].get(task, {})
    rows = []
    for name, label in report['study']['encoders'].items():
        if name not in measured and name not in trained:
            continue
        row = measured.get(name, {})
        runs = list(trained.get(name, {}).values())
        wall = [run['wall_seconds'] for run in runs if run['wall_seconds']]
        speed = [run['images_per_second'] for run in runs if run['images_per_second']]
        rows.append(
            [
                label,
                _number(row.get('parameters'), 1e6, '.3f'),
                _number(row.get('encoder_parameters'), 1e6, '.3f'),
                _number(row.get('multiply_adds'), 1e9, '.4f'),
                _number(row.get('inference_images_per_second'), 1, '.1f'),
                _number(row.get('training_images_per_second'), 1, '.1f'),
                _number(sum(speed) / len(speed) if speed else None, 1, '.1f'),
                format_seconds(sum(wall) / len(wall)) if wall else '-',
            ]
        )
    return rows


def cost_note(report: dict, task: str) -> str:
    """Under which conditions the costs were measured."""
    costs = report['costs'].get(task)
    if not costs:
        return 'Counts and speeds side by side were not measured (step not done).'
    row = next(iter(costs['models'].values()))
    return (
        f'Multiply-adds: inference of one image, input {row["input_shape"]}, matrix '
        'products and convolutions including those of the covariance. Inference and '
        f'training step: the models in turns, alone on the machine, {costs["device"]}, '
        f'{costs["threads"]} threads, batch {row["inference_batch_size"]} and '
        f'{row["training_batch_size"]}, median of {costs["rounds"]} turns. Training as '
        'run: from the logs, beside whatever else ran, data loading included.'
    )


def _costs(report: dict, task: str) -> list[str]:
    rows = cost_rows(report, task)
    if not rows:
        return []
    return [table_text(COST_HEAD, rows), cost_note(report, task) + '\n']


def _gallery(report: dict, task: str) -> list[str]:
    pictures = report['pictures'].get(task)
    if not pictures:
        return []
    names = list(pictures['models'])
    labels = [report['study']['encoders'][name] for name in names]
    lines = ['Predictions on the validation data.\n']
    lines.append('| ' + ' | '.join(['truth', *labels]) + ' |')
    lines.append('|' + '---|' * (len(names) + 1))
    for sample in pictures['samples']:
        files = [sample['truth'], *(sample['predictions'][name] for name in names)]
        lines.append('| ' + ' | '.join(f'![]({file})' for file in files) + ' |')
    return ['\n'.join(lines) + '\n']


def data_faults(report: dict) -> list[str]:
    """What the check of own data counted and found, one line each."""
    lines = []
    for part, found in (report['own_data'] or {}).items():
        for split, counts in found['counts'].items():
            lines.append(f'{part}, {split}: {counts["images"]} images')
        lines += [f'{part}: fault: {text}' for text in found['errors']]
        lines += [f'{part}: note: {text}' for text in found['notes']]
    return lines


def _reference(tables: list[dict]) -> list[str]:
    parts = []
    for table in tables:
        parts.append(f'\n## {table["title"]}\n')
        parts.append(f'Not measured here. Source: {table["source"]}\n')
        parts.append(table_text(table['head'], table['rows']))
    return parts


def _analyses(analyses: list[dict]) -> list[str]:
    parts = ['\n## Analyses\n'] if analyses else []
    for analysis in analyses:
        parts.append(f'\n### {_title(analysis["name"])}, {analysis["task"]}\n')
        if analysis['picture']:
            parts.append(f'![{analysis["name"]}]({analysis["picture"]})\n')
        parts.append(f'Numbers: `{analysis["json"]}`\n')
    return parts


def _unfinished(report: dict) -> list[str]:
    open_steps = [step for step in report['steps'] if step['state'] != 'done']
    parts = []
    if open_steps:
        lines = ['**Not all steps are done**; the report holds what is:\n']
        for step in open_steps:
            log = f', log `{step["log"]}`' if step['log'] else ''
            lines.append(f'- {step["name"]}: {step["state"]}{log}')
        parts.append('\n'.join(lines) + '\n')
    if report['missing']:
        lines = ['**Missing on this machine**:\n']
        parts.append(
            '\n'.join(lines + [f'- {note}' for note in report['missing']]) + '\n'
        )
    return parts


def _step(step: dict) -> str:
    lines = [f'### {step["name"]}\n', f'    {step["command"]}\n']
    facts = [step['state']]
    if step['seconds'] is not None:
        facts.append(format_seconds(step['seconds']))
    if step['config']:
        facts.append(f'config `{step["config"]}`')
    if step['log']:
        facts.append(f'log `{step["log"]}`')
    facts.append(f'result `{step["result"]}`')
    if step['result_sha256']:
        facts.append(f'sha256 `{step["result_sha256"]}`')
    lines.append('; '.join(facts) + '\n')
    for path, sha in step['inputs'].items():
        lines.append(f'- read `{path}`, sha256 `{sha}`')
    return '\n'.join(lines) + '\n'


def _number(value: float | None, unit: float, form: str) -> str:
    return '-' if value is None else format(value / unit, form)


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
