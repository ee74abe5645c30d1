"""What a checkpoint says about its encoder, and whether a model agrees with it."""

import ast
import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import nn

INPUT = ('mean', 'std', 'to_rgb')
SETTINGS = (*INPUT, 'pooling_head', 'last_stage', 'normalization', 'recalibrated')


def declared_settings(content: Any) -> dict[str, str]:
    """What the metadata, or the training config in it, says about the encoder.

    ``mean``, ``std`` and ``to_rgb`` are JSON.
    """
    meta = _mapping(_mapping(content).get('meta'))
    settings = {key: meta[key] for key in SETTINGS if isinstance(meta.get(key), str)}
    text = str(meta.get('cfg', meta.get('config')))
    model = _mapping(read_setting(text, 'model'))
    candidates = (
        read_setting(text, 'img_norm_cfg'),
        model.get('data_preprocessor'),
        read_setting(text, 'data_preprocessor'),
    )
    for values in map(_mapping, candidates):
        if values.get('mean') and values.get('std'):
            rgb = any(values.get(key, False) for key in ('to_rgb', 'bgr_to_rgb'))
            found = dict(mean=values['mean'], std=values['std'], to_rgb=rgb)
            settings |= {key: json.dumps(value) for key, value in found.items()}
    normalization = _mapping(_mapping(model.get('neck')).get('normalization'))
    if 'type' in normalization:
        settings['normalization'] = str(normalization['type'])
    if 'last_stage' in _mapping(model.get('backbone')):
        settings['last_stage'] = str(model['backbone']['last_stage'])
    return settings


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}


class _DictCalls(ast.NodeTransformer):
    """Turns ``dict(a=1)``, as mmengine writes configs, into ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = not node.args and all(keyword.arg for keyword in node.keywords)
        if named and isinstance(node.func, ast.Name) and node.func.id == 'dict':
            pairs = [(ast.Constant(key.arg), key.value) for key in node.keywords]
            return ast.Dict([key for key, _ in pairs], [value for _, value in pairs])
        return node


def read_setting(text: str, name: str) -> Any:
    """Value of a variable in the text of a config, which is not run.

    It is None when it is missing or more than literals and ``dict()``.
    """
    try:
        for node in _DictCalls().visit(ast.parse(text)).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return ast.literal_eval(node.value)
    except (SyntaxError, ValueError):
        pass
    return None


def declared_input(meta: Mapping[str, str]) -> dict | None:
    """``mean``, ``std`` and ``to_rgb`` of an encoder file, None when it has none."""
    if not meta.keys() >= set(INPUT):
        return None
    return {key: json.loads(meta[key]) for key in INPUT}


def input_text(values: Mapping[str, Any] | None) -> str:
    """Input normalization in words, for the log."""
    if values is None:
        return 'input normalization unknown'
    order = 'RGB' if values['to_rgb'] else 'BGR'
    return f'mean {values["mean"]}, std {values["std"]}, {order}'


def check_model_input(model: nn.Module) -> None:
    """Warn when a model normalizes images otherwise than its encoder expects.

    Call it after ``init_weights``: ``PretrainedEncoder`` leaves the metadata of its
    file at the module that it filled.
    """
    for module in model.modules():
        declared = declared_input(getattr(module, 'encoder_meta', {}))
        if declared is not None:
            _compare_input(model.data_preprocessor, declared)


def _compare_input(preprocessor: Any, declared: Mapping[str, Any]) -> None:
    # mmpretrain's attribute, that of mmdet and mmengine, that of mmseg
    flags = ('to_rgb', '_channel_conversion', 'channel_conversion')
    found: dict[str, Any] = {'to_rgb': any(getattr(preprocessor, f, 0) for f in flags)}
    same = found['to_rgb'] == declared['to_rgb']
    for key in ('mean', 'std'):
        value = getattr(preprocessor, key, None)
        if value is not None:
            value = [round(x, 4) for x in value.flatten().tolist()]
        same &= value is not None and np.allclose(value, declared[key], atol=0.01)
        found[key] = value
    if not same:
        print_log(
            'The encoder was trained on another input normalization than this model '
            f'gives it. Encoder: {input_text(declared)}. Data preprocessor: '
            f'{input_text(found)}. Set model.data_preprocessor to the values of the '
            'encoder.',
            logger='current',
            level=logging.WARNING,
        )
