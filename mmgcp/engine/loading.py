"""A runner that notices when a checkpoint leaves part of the model random."""

import pickle
from collections.abc import Callable
from typing import Any

from mmengine.runner import BaseLoop, Runner

from mmgcp.utils.errors import UserError

_SHOWN = 200


class IncompleteCheckpointError(UserError):
    """A checkpoint does not hold every weight of the model."""


class UnreadableCheckpointError(UserError):
    """A file is no checkpoint, or only part of one."""


#: What torch raises, by the byte at which it stumbles over such a file.
_UNREADABLE = (pickle.UnpicklingError, EOFError, LookupError, UnicodeError, ValueError)


class FillingRunner(Runner):
    """mmengine's Runner, but what is evaluated or resumed is the checkpoint.

    mmengine leaves a weight that the file lacks at its random value, with a warning
    in the log, and the metrics that follow look like those of a bad model. That is
    right for fine-tuning from ``load_from`` only.
    """

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        **kwargs: Any,
    ) -> dict:
        """Load the weights of a checkpoint into the model.

        Weights in the file that the model lacks are left to mmengine's warning:
        the box branch of a mask detector, say, is a whole detector.

        Raises:
            IncompleteCheckpointError: The run resumes or evaluates, and weights are
                missing in the file or have another shape.
            UnreadableCheckpointError: The file is no checkpoint.
        """
        try:
            return self._load_checkpoint(filename, map_location, strict, **kwargs)
        except UserError:
            raise
        except _UNREADABLE as error:
            raise UnreadableCheckpointError(
                f'{filename} cannot be read as a checkpoint; it is truncated, damaged '
                f'or something else ({type(error).__name__}: {error})'
            ) from error

    def _load_checkpoint(self, filename, map_location, strict, **kwargs) -> dict:
        fine_tunes = isinstance(self._train_loop, BaseLoop) and not self._resume
        if strict or fine_tunes:
            return super().load_checkpoint(filename, map_location, strict, **kwargs)
        try:
            return super().load_checkpoint(filename, map_location, True, **kwargs)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()]
            if not lines[0].startswith('The model and loaded state dict'):
                raise
            wrong = [
                s for s in lines if s.startswith(('missing keys', 'size mismatch'))
            ]
        if wrong:
            raise IncompleteCheckpointError(
                f'{filename} does not fill the model of {self.cfg.filename}: '
                + '; '.join(_shortened(line) for line in wrong[:3])
                + (f' ({len(wrong) - 3} more)' if len(wrong) > 3 else '')
                + '. Give the config that the checkpoint was trained with'
            )
        return super().load_checkpoint(filename, map_location, False, **kwargs)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]} ...'
