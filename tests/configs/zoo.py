"""The full-size configs on disk, and how to compare merged configs."""

import re
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config, ConfigDict

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FOLDERS = {'pretrain': 'mmpretrain', 'detection': 'mmdet', 'segmentation': 'mmseg'}

# What a runner reads; the rest of a config are names for its own use.
RUNNER_KEYS = (
    'auto_scale_lr',
    'custom_hooks',
    'data_preprocessor',
    'default_hooks',
    'default_scope',
    'env_cfg',
    'load_from',
    'log_level',
    'log_processor',
    'model',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'resume',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'train_cfg',
    'train_dataloader',
    'tta_model',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'visualizer',
)


def config_files(folder: str) -> list[Path]:
    """Full-size configs of a folder, those on scenes left out."""
    files = sorted((CONFIGS / folder).glob('*.py'))
    return [path for path in files if not path.stem.endswith('_scenes')]


def framework_configs(framework: str) -> Path:
    """The folder of configs that an installed framework brings along."""
    package = Path(find_spec(framework).origin).parent
    for folder in (package / '.mim' / 'configs', package.parent / 'configs'):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f'{framework}: no configs beside {package}')


def framework_config(framework: str, name: str) -> Config:
    """Load the framework's own config of that base name."""
    (path,) = framework_configs(framework).glob(f'*/{name}.py')
    return Config.fromfile(path)


def flat(config: Config) -> dict:
    """Every value a runner reads, by its dotted path."""
    leaves: dict = {}

    def walk(path: str, value) -> None:
        if isinstance(value, dict | ConfigDict) and value:
            for key, item in value.items():
                walk(f'{path}.{key}' if path else str(key), item)
        elif isinstance(value, list | tuple) and value:
            for index, item in enumerate(value):
                walk(f'{path}.{index}', item)
        else:
            leaves[path] = value

    content = config.to_dict()
    if content.get('default_scope') == 'mmseg':
        # There it is a name for the config's own use; the model has its own.
        content.pop('data_preprocessor', None)
    walk('', {key: content[key] for key in RUNNER_KEYS if key in content})
    return leaves


def differences(ours: Config, theirs: Config) -> set[str]:
    """Dotted paths at which two merged configs differ."""
    left, right = flat(ours), flat(theirs)
    absent = object()
    return {
        path
        for path in left.keys() | right.keys()
        if left.get(path, absent) != right.get(path, absent)
    }


def outside(paths: set[str], allowed: dict[str, str]) -> set[str]:
    """Paths that none of the allowed patterns (``*`` = anything) covers."""
    return {path for path in paths if not any(_fits(path, p) for p in allowed)}


def unused(paths: set[str], allowed: dict[str, str]) -> set[str]:
    """Allowed patterns that cover nothing: the list has to stay true."""
    return {p for p in allowed if not any(_fits(path, p) for path in paths)}


def _fits(path: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r'\*', '.*'), path) is not None
