"""Files that are whole or not there, their digests, and JSON."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside ``path`` that takes its place when all went well.

    Its name is always the same, so that what a killed process left is overwritten by
    the next one. An OSError, of a full disk say, names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.stem}.part{path.suffix}')
    try:
        yield part
        with open(part, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        # torch's writer raises an error of its own on top of that of the disk.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file so that it is either the old one or the whole new one."""
    with replacing(path) as part:
        part.write_text(text, encoding='utf-8')


def file_sha256(path: str | os.PathLike) -> str:
    """Sha256 of a file, as ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Turn arrays, tensors and paths into what JSON can hold.

    Numbers that are not finite become ``None``: most readers of JSON refuse ``NaN``.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):  # an array or a tensor
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write a JSON file so that it is either the old one or the whole new one."""
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + '\n')
    return Path(path)


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; UserError when it is none."""
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path} is not JSON: {error}') from error
