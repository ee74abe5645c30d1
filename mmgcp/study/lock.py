"""One study per folder at a time."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from .step import StudyError


class FolderLock:
    """Hold ``folder/.lock`` with flock.

    The steps inherit the descriptor. When the study is killed with SIGKILL the
    lock therefore stays until its last step is gone too, so a study started
    again never shares a work folder with a step of the one before.

    Args:
        folder: The study's folder; made when missing.
        patience: Seconds to wait for the steps of a study that was killed.

    Raises:
        StudyError: Another study runs in the folder.
    """

    def __init__(self, folder: str | Path, patience: float = 30.0) -> None:
        self.path = Path(folder) / '.lock'
        self.patience = patience
        self.descriptor: int | None = None

    def __enter__(self) -> 'FolderLock':
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = self._owner()
                if _alive(owner) or time.monotonic() > deadline:
                    os.close(descriptor)
                    raise StudyError(self._refusal(owner)) from None
                time.sleep(0.2)
        os.ftruncate(descriptor, 0)
        owner = {'pid': os.getpid(), 'host': socket.gethostname()}
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        self.descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.descriptor is not None:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
            self.descriptor = None

    def _owner(self) -> dict:
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}

    def _refusal(self, owner: dict) -> str:
        folder = self.path.parent
        if _alive(owner):
            who = f'process {owner["pid"]} on {owner["host"]}'
        else:
            who = f'a step of a study that was killed (process {owner.get("pid")})'
        return (
            f'{folder}: another study runs in this folder ({who}). '
            'Wait for it, end it, or choose another folder with --work-dir.'
        )


def _alive(owner: dict) -> bool:
    if not owner:
        return False
    if owner.get('host') != socket.gethostname():
        return True
    try:
        os.kill(owner['pid'], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(owner['pid'])


def _is_zombie(pid: int) -> bool:
    """A killed study whose parent has not collected it yet counts as gone."""
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False
    return stat.rpartition(')')[2].split()[0] == 'Z'
