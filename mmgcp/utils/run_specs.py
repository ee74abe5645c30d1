"""Models that a command names by pairs of config and checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import UserError


class RunSpec(NamedTuple):
    """A run by its files; nothing is loaded yet."""

    config: str
    checkpoint: str  # a path, or 'none' for random weights
    label: str  # the name in pictures and reports


def run_specs(pairs: Sequence[str], labels: Sequence[str] | None = None) -> list:
    """Turn ``CONFIG CHECKPOINT CONFIG CHECKPOINT ...`` into runs.

    A label is by default the name of the config, or of the checkpoint and its folder
    where several runs have the same config.
    """
    if not pairs or len(pairs) % 2:
        raise UserError(
            f'{len(pairs)} paths: give CONFIG CHECKPOINT, once for each model '
            "(checkpoint 'none' for random weights)"
        )
    configs, checkpoints = pairs[::2], pairs[1::2]
    if labels is None:
        labels = [
            Path(config).stem
            if configs.count(config) == 1
            else '/'.join(Path(checkpoint).parts[-2:])
            for config, checkpoint in zip(configs, checkpoints, strict=True)
        ]
        same = [label for label in labels if labels.count(label) > 1]
        if same:
            raise UserError(f'several runs would be called {same[0]!r}: give --labels')
    if len(labels) != len(configs):
        raise UserError(f'--labels: {len(labels)} labels for {len(configs)} runs')
    return list(map(RunSpec, configs, checkpoints, labels))
