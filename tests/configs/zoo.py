"""The full-size configs on disk, and how to compare merged configs."""

import inspect
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FOLDERS = {'pretrain': 'mmpretrain', 'detection': 'mmdet', 'segmentation': 'mmseg'}
#: Data sets of the small studies, by the end of a config's name.
SMALL = dict(scenes='Scenes', cifar10='CIFAR-10', bccd='BCCD', camvid='CamVid')
# What a runner reads; the rest of a config are names for its own use.
RUNNER_KEYS = {*inspect.signature(Runner).parameters, 'tta_model'}


def config_files(folder: str) -> list[Path]:
    """Full-size configs of a folder, those of the small studies left out."""
    files = sorted((CONFIGS / folder).glob('*.py'))
    return [path for path in files if path.stem.rpartition('_')[2] not in SMALL]


@cache
def read(path: Path) -> Config:
    """Read a config that the test does not change."""
    return Config.fromfile(path)


@cache
def framework_config(framework: str, name: str) -> Config:
    """Read the config of that base name that an installed framework brings along."""
    package = Path(find_spec(framework).origin).parent
    (path,) = (package / '.mim' / 'configs').glob(f'*/{name}.py')
    return Config.fromfile(path)


def flat(config: Config) -> dict:
    """Every value a runner reads, by its dotted path."""
    leaves: dict = {}

    def walk(path: str, value) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(f'{path}.{key}' if path else str(key), item)
        elif isinstance(value, list | tuple) and value:
            walk(path, dict(enumerate(value)))
        else:
            leaves[path] = value

    content = config.to_dict()
    if content.get('default_scope') == 'mmseg':
        # There it is a name for the config's own use; the model has its own.
        content.pop('data_preprocessor', None)
    walk('', {key: content[key] for key in content.keys() & RUNNER_KEYS})
    return leaves


def differences(ours: Config, theirs: Config) -> set[str]:
    """Dotted paths at which two merged configs differ."""
    left, right = flat(ours), flat(theirs)
    both = left.keys() & right.keys()
    return left.keys() ^ right.keys() | {
        path for path in both if left[path] != right[path]
    }
