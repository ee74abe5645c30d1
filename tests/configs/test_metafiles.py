"""Metafiles, model index and the names by which configs are found."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from zoo import CONFIGS, FOLDERS, ROOT, SMALL, read

LISTED = (*FOLDERS, 'finetune')
EVERY = sorted(path for folder in LISTED for path in (CONFIGS / folder).glob('*.py'))
DATA = dict(CocoDataset='COCO 2017', ADE20KDataset='ADE20K', ImageNet='ImageNet-1k')
DATA |= dict(CUB='CUB-200-2011', StanfordCars='Stanford Cars')
DATA |= {'FGVCAircraft': 'FGVC-Aircraft', 'mmgcp.INaturalist': 'iNaturalist 2017'}


def test_names_are_unique_and_the_index_names_every_metafile():
    assert max(Counter(path.name for path in EVERY).values()) == 1
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert sorted(index['Import']) == sorted(
        f'configs/{folder}/metafile.yml' for folder in LISTED
    )


@pytest.mark.parametrize('folder', LISTED)
def test_a_metafile_tells_what_the_configs_say(folder):
    content = yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text())
    on_disk = [
        str(path.relative_to(ROOT)) for path in EVERY if path.parent.name == folder
    ]
    assert sorted(model['Config'] for model in content['Models']) == sorted(on_disk)
    collections = {entry['Name'] for entry in content['Collections']}
    readme = (CONFIGS / folder / 'README.md').read_text()
    for model in content['Models']:
        config = read(ROOT / model['Config'])
        metadata = model['Metadata']
        assert model['Name'] == Path(model['Config']).stem
        assert model['In Collection'] in collections
        if small := SMALL.get(model['Name'].rpartition('_')[2]):
            assert metadata['Training Data'] == small
            continue
        assert metadata['Training Data'] == DATA[config.train_dataloader.dataset.type]
        length = config.train_cfg.get('max_epochs') or config.train_cfg.max_iters
        assert metadata.get('Epochs', metadata.get('Iterations')) == length
        assert metadata['Batch Size'] == config.auto_scale_lr.base_batch_size
        optimizer = config.optim_wrapper.optimizer.type
        assert metadata['Training Techniques'] == [optimizer]
        assert f'({model["Name"]}.py)' in readme


def test_mim_finds_configs_of_an_editable_installation():
    """There mim searches the checkout: no link may show a config a second time."""
    package = Path(find_spec('mmgcp').origin).parent
    if not (package / '.mim').exists():
        pytest.skip('mmgcp is not installed (pip install -e . makes mmgcp/.mim)')
    assert not (package / '.mim' / 'configs').exists()
    assert (package / '.mim' / 'model-index.yml').is_file()
    assert (package / '.mim' / 'tools' / 'train.py').is_file()
