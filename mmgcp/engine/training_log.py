"""Reading the scalar logs that mmengine writes while training."""

import json
from pathlib import Path

from mmgcp.utils.errors import UserError


class TrainingLogError(UserError):
    """There is no training log, or it is damaged."""


def read_training_log(path: str | Path) -> list[dict]:
    """Records of a run: training records hold ``loss``, validation records do not.

    ``path`` is a ``scalars.json``, the work folder of a run, or a checkpoint in it. A
    resumed run writes a new file. What it did again replaces what the attempt before
    it wrote for the same step. A killed run may leave a cut last line.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    one_file = path.suffix == '.json' and path.is_file()
    files = [path] if one_file else sorted(folder.glob('*/vis_data/scalars.json'))
    if not files:
        raise TrainingLogError(
            f'{path}: no */vis_data/scalars.json in {folder}; give the work folder of '
            'a training run, or a checkpoint in it'
        )
    merged: dict[tuple, dict] = {}
    for file in files:
        lines = file.read_text(encoding='utf-8').splitlines()
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                if number == len(lines):
                    continue
                raise TrainingLogError(f'{file}, line {number}: {error}') from error
            merged['loss' in record, record.get('step')] = record
    return list(merged.values())
