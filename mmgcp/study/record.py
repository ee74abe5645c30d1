"""What stays of a finished study: its design as a hash, its values as a small file."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmgcp.analysis.tables import sentences, tables_of
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import read_json, write_json

from .config import contrasts
from .derived_config import shown
from .plan import metrics_of
from .report import fill
from .step import Step, StudyError, digest

#: They look at what others made, and decide no result.
_SIDE_STEPS = ('pictures', 'costs', 'analysis')
_DATA_STEPS = ('data', 'check')
_DESIGN = ('baseline', 'seeds', 'primary', 'margin', 'comparison')


def study_hash(
    study: dict[str, Any], steps: Iterable[Step], folder: Path, root: Path
) -> str:
    """Hash of the design of a study: two records with the same one are comparable.

    It covers what is compared and how (baseline, contrasts, seeds, metrics, primary
    end-points, margins, kind of comparison), and the command, the processes and the
    whole config of every step that decides a result. It covers neither code nor
    versions, nor where the project, the data and the study's folder are.
    """
    design = {key: study[key] for key in _DESIGN}
    design['contrasts'] = contrasts(study)
    design['metrics'] = {task: list(metrics_of(study, task)) for task in study['tasks']}
    design['steps'] = {
        step.name: [step.command, step.processes, step.content]
        for step in steps
        if step.kind not in _SIDE_STEPS
    }
    return digest(_portable(design, _places(study, folder, root)))


def write_record(
    study: dict[str, Any],
    report: dict[str, Any],
    steps: list[Step],
    folder: Path,
    root: Path,
    file: Path,
) -> None:
    """Write values, design, versions and commands of a finished study, no weights.

    Raises:
        StudyError: A step is not done, or ``file`` is not a name of a JSON file.
    """
    if file.suffix != '.json':
        raise StudyError(f'--record {file}: give the name of a .json file')
    for step in report['steps']:
        if step['state'] != 'done':
            raise StudyError(
                f'--record {file}: {study["file"]} is not finished: {step["name"]} is '
                f'{step["state"]}. Run the study to its end first'
            )
    places, traces = _places(study, folder, root), report['steps']
    content = {
        'study': report['study'],
        'command': _command(study),
        'values': {
            task: {
                metric: {
                    'label': table['label'],
                    'encoders': {n: r['values'] for n, r in table['encoders'].items()},
                }
                for metric, table in tables.items()
            }
            for task, tables in report['results'].items()
        },
        'ended': max(step['ended'] for step in traces),
        'hours': sum(step['seconds'] for step in traces) / 3600,
        'data_sha256': [
            step['result_sha256'] for step in traces if step['kind'] in _DATA_STEPS
        ],
        'versions': report['environment'],
        'notes': report['notes'],
        'test_images': report['test_images'],
        # Those of the other seeds differ in the seed alone.
        'configs_sha256': {
            step.name: digest(_portable(step.content, places))
            for step in steps
            if step.content is not None and step.meta.get('seed') == study['seeds'][0]
        },
        'commands': {
            step.name: trace['command']
            for step, trace in zip(steps, traces, strict=True)
            if step.meta.get('seed', study['seeds'][0]) == study['seeds'][0]
        },
    }
    write_json(file, _portable(content, places))


def results_page(folder: Path) -> str:
    """The page of all records in a folder.

    Raises:
        UserError: Records of one study have different designs.
    """
    records: dict[str, list[dict]] = {}
    for file in sorted(folder.glob('*.json')):
        record = read_json(file)
        try:
            study, record['file'] = record['study'], file.name
            record['results'] = tables_of(
                record['values'], study, record.get('test_images')
            )
        except (KeyError, TypeError) as error:
            raise UserError(
                f'{file} is no record of a study (no {error}); write it with '
                'tools/study.py STUDY --record'
            ) from error
        record['sentences'] = sentences(record['results'])
        others = records.setdefault(study['name'], [])
        if others and others[0]['study']['hash'] != study['hash']:
            raise UserError(
                f'{folder / others[0]["file"]} and {file} have different designs and '
                f'cannot share the tables of study {study["name"]!r}: record both with '
                'the same study file, or give one study another name'
            )
        others.append(record)
    return fill('results.md', studies=records)


def _command(study: dict[str, Any]) -> str:
    """The command line that repeats the study."""
    words = ['python', 'tools/study.py', study['file']]
    words += ['--seeds', str(len(study['seeds']))]
    words += ['--encoders', *study['encoders'], '--tasks', *study['tasks']]
    if study['nproc'] > 1:
        words += ['--nproc', str(study['nproc'])]
    if study['options']:
        words += ['--cfg-options', *(f'{k}={v}' for k, v in study['options'].items())]
    return shlex.join(words)


def _places(study: dict[str, Any], folder: Path, root: Path) -> dict[str, str]:
    """Folders that differ from machine to machine, and what to call them."""
    places = {f'{folder}/steps': 'WORK_DIR/steps'}
    if study['data']:
        data = Path(study['data']['result']).parent
        places |= {str(data): 'DATA', shown(data): 'DATA'}
    return places | {str(root): '.'}


def _portable(content: Any, places: dict[str, str]) -> Any:
    """Content without the places of this machine; of other absolute paths the name."""
    if isinstance(content, dict):
        return {key: _portable(value, places) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_portable(value, places) for value in content]
    if not isinstance(content, str):
        return content
    for place, name in places.items():
        pattern = rf'(?<![\w./-]){re.escape(place)}(?=/|\s|$)'
        content = re.sub(pattern, name, content)
    # ./tools is tools; /data/coco is coco.
    return re.sub(r'(?<![^\s=])(\./|/(?:[^\s/]+/)*(?=\S))', '', content)
