"""Metafiles, model index and the names by which configs are found."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from zoo import CONFIGS, FOLDERS, ROOT

EVERY = sorted(path for folder in FOLDERS for path in (CONFIGS / folder).glob('*.py'))
DATA = {
    'CocoDataset': 'COCO 2017',
    'ADE20KDataset': 'ADE20K',
    'ImageNet': 'ImageNet-1k',
}


def metafile(folder: str) -> dict:
    return yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text())


def test_base_names_are_unique():
    names = Counter(
        path.name for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_'
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_the_index_names_every_metafile():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    on_disk = {
        f'configs/{path.parent.name}/metafile.yml'
        for path in CONFIGS.glob('*/metafile.yml')
    }
    assert set(index['Import']) == on_disk
    assert len(index['Import']) == len(on_disk)


@pytest.mark.parametrize('folder', FOLDERS)
def test_a_metafile_is_complete(folder):
    content = metafile(folder)
    models = content['Models']
    collections = {entry['Name'] for entry in content['Collections']}
    on_disk = {
        f'configs/{folder}/{path.name}' for path in EVERY if path.parent.name == folder
    }
    assert {model['Config'] for model in models} == on_disk
    assert len(models) == len(on_disk)
    assert {model['In Collection'] for model in models} == collections
    for entry in content['Collections']:
        assert entry['Paper']['URL'].startswith('https://')
        assert entry['Paper']['Title']
    for entry in [*models, *content['Collections']]:
        assert (ROOT / entry['README']).is_file()


@pytest.mark.parametrize('folder', FOLDERS)
def test_a_metafile_tells_what_the_config_says(folder):
    for model in metafile(folder)['Models']:
        config = Config.fromfile(ROOT / model['Config'])
        metadata = model['Metadata']
        assert model['Name'] == Path(model['Config']).stem
        scenes = model['Name'].endswith('_scenes')
        if not scenes:
            lengths = {'max_epochs': 'Epochs', 'max_iters': 'Iterations'}
            ((key, name),) = [i for i in lengths.items() if i[0] in config.train_cfg]
            assert metadata[name] == config.train_cfg[key], model['Name']
            assert metadata['Batch Size'] == config.auto_scale_lr.base_batch_size
            optimizer = config.optim_wrapper.optimizer.type
            assert metadata['Training Techniques'] == [optimizer]
        kind = 'Scenes' if scenes else DATA[config.train_dataloader.dataset.type]
        assert metadata['Training Data'] == kind
        # Results and weights are given only by runs of ours.
        assert 'Weights' not in model
        assert 'Results' not in model


def found_by_name(package: Path, name: str) -> list[Path]:
    """Where ``mim train mmgcp NAME`` looks: everywhere below the package."""
    walk = os.walk(package, followlinks=True)
    return [Path(base, name) for base, _, files in walk if name in files]


def check_lookup(root: Path, tools: Path) -> None:
    assert (tools / 'train.py').is_file()
    assert (tools / 'test.py').is_file()
    for path in EVERY:
        (found,) = found_by_name(root, path.name)
        assert Config.fromfile(found).to_dict() == Config.fromfile(path).to_dict()


def test_mim_finds_configs_of_an_editable_installation():
    """There mim searches the checkout: no link may show a config a second time."""
    package = Path(find_spec('mmgcp').origin).parent
    if not (package / '.mim').exists():
        pytest.skip('mmgcp is not installed (pip install -e . makes mmgcp/.mim)')
    assert not (package / '.mim' / 'configs').exists()
    assert (package / '.mim' / 'model-index.yml').is_file()
    assert (package / '.mim' / 'tools' / 'train.py').is_file()
    found = [
        path
        for folder in ('configs', 'docs', 'mmgcp', 'tests', 'tools')
        for path in found_by_name(ROOT / folder, EVERY[0].name)
    ]
    assert found == [EVERY[0]]


@pytest.mark.once
def test_mim_finds_configs_of_a_wheel(tmp_path):
    built = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '-q',
            '--no-deps',
            '--no-build-isolation',
            '--no-index',
            '-w',
            tmp_path,
            _source(tmp_path / 'source'),
        ],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob('mmgcp-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / 'installed')
    package = tmp_path / 'installed' / 'mmgcp'
    check_lookup(package, package / '.mim' / 'tools')
    assert (package / '.mim' / 'model-index.yml').is_file()


def _source(folder: Path) -> Path:
    """A copy to build from: setuptools writes into its source tree."""
    folder.mkdir()
    for name in (
        'setup.py',
        'pyproject.toml',
        'README.md',
        'model-index.yml',
        'LICENSE',
    ):
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmgcp', 'configs', 'tools'):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder
