"""The page that goes with a published checkpoint."""

import json
from collections.abc import Mapping
from typing import Any

from mmgcp.utils.config import innermost_dataset
from mmgcp.weights.metadata import (
    declared_input,
    declared_settings,
    input_text,
    read_setting,
)

UNKNOWN = 'unknown'
_CARD = """# {name}

| | |
|---|---|
{rows}

Its encoder in a config of mmpretrain, mmdet or mmseg, with mmgcp installed:

```python
init_cfg = dict(type='mmgcp.PretrainedEncoder', checkpoint='{name}', sha256='{digits}')
model = dict(backbone=dict(init_cfg=init_cfg))
```
"""


def model_card(name: str, sha256: str, meta: Mapping[str, str]) -> str:
    """Markdown about a file: what its metadata, and the config in it, say."""
    settings = declared_settings({'meta': meta})
    text = meta.get('cfg', meta.get('config', ''))
    model = read_setting(text, 'model') or {}
    backbone = model.get('backbone') or {}
    named = ' '.join(str(backbone.get(k, '')) for k in ('type', 'arch', 'depth'))
    rows = {
        'trained on': _data(text, meta),
        'framework': read_setting(text, 'default_scope') or UNKNOWN,
        'encoder': ' '.join(named.split()) or meta.get('architecture', UNKNOWN),
        'pooling head': settings.get('pooling_head') or _pooling(model.get('neck')),
        'last stage': settings.get('last_stage', UNKNOWN),
        'input normalization': input_text(declared_input(settings)),
        'epoch': meta.get('epoch', UNKNOWN),
        'weights': meta.get('weights', UNKNOWN),
        'sha256': sha256,
        'source': meta['source'],
        'sha256 of the source': meta['source_sha256'],
        'written by': f'mmgcp {meta["mmgcp_version"]}',
    }
    lines = [f'| {key} | {value} |' for key, value in rows.items()]
    return _CARD.format(name=name, rows='\n'.join(lines), digits=sha256[:8])


def _data(text: str, meta: Mapping[str, str]) -> str:
    loader = read_setting(text, 'train_dataloader') or {}
    data = innermost_dataset(loader.get('dataset'))
    words = [str(data[key]) for key in ('type', 'data_root') if data.get(key)]
    if 'classes' in meta:
        words.append(f'{len(json.loads(meta["classes"]))} classes')
    return ', '.join(words) or UNKNOWN


def _pooling(neck: Any) -> str:
    if not isinstance(neck, Mapping):
        return UNKNOWN
    parts = [neck.get(key) or {} for key in ('normalization', 'dropout')]
    names = [str(neck.get('type')), *(str(p['type']) for p in parts if 'type' in p)]
    return ' with '.join(names)
