"""What a checkpoint says about its encoder, and whether a model agrees with it."""

import ast
import json
import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from .errors import CheckpointError

INPUT = ('mean', 'std', 'to_rgb')
_OWN_KEYS = (*INPUT, 'pooling_head', 'last_stage', 'normalization')


def declared_settings(content: Any) -> dict[str, str]:
    """What the metadata, or the training config in it, says about the encoder.

    Returns:
        Some of ``mean``, ``std`` and ``to_rgb`` as JSON, ``pooling_head``,
        ``last_stage`` and ``normalization``.
    """
    meta = _mapping(_mapping(content).get('meta'))
    settings = {key: meta[key] for key in _OWN_KEYS if isinstance(meta.get(key), str)}
    text = meta.get('cfg', meta.get('config'))
    if not isinstance(text, str):
        return settings
    model = _mapping(read_setting(text, 'model'))
    candidates = (
        read_setting(text, 'data_preprocessor'),
        model.get('data_preprocessor'),
        read_setting(text, 'img_norm_cfg'),
    )
    for values in map(_mapping, candidates):
        if values.get('mean') and values.get('std'):
            settings['mean'] = json.dumps(list(values['mean']))
            settings['std'] = json.dumps(list(values['std']))
            rgb = any(values.get(key, False) for key in ('to_rgb', 'bgr_to_rgb'))
            settings['to_rgb'] = json.dumps(rgb)
            break
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

    Returns:
        The value, or None when it is missing or more than literals and ``dict()``.
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
    """``mean``, ``std`` and ``to_rgb`` of an encoder file, None when it has none.

    Raises:
        CheckpointError: They are not JSON.
    """
    if not all(key in meta for key in INPUT):
        return None
    try:
        return {key: json.loads(meta[key]) for key in INPUT}
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f'mean, std and to_rgb in the metadata of an encoder file are not JSON: '
            f'{error}. Convert the file again'
        ) from error


def input_text(values: Mapping[str, Any] | None) -> str:
    """Input normalization in words, for the log."""
    if values is None:
        return 'input normalization unknown'
    order = 'RGB' if values['to_rgb'] else 'BGR'
    return f'mean {values["mean"]}, std {values["std"]}, {order}'


def check_model_input(model: nn.Module) -> None:
    """Compare the input of a model with what its encoders were trained on.

    Call it after ``init_weights``: ``PretrainedEncoder`` leaves the metadata of its
    file at the module that it filled.
    """
    model = getattr(model, 'module', model)
    preprocessor = getattr(model, 'data_preprocessor', None)
    for module in model.modules():
        meta = getattr(module, 'encoder_meta', None)
        if meta is not None and preprocessor is not None:
            check_preprocessor(preprocessor, meta)


def check_preprocessor(preprocessor: nn.Module, meta: Mapping[str, str]) -> bool:
    """Warn when a model normalizes images otherwise than its encoder expects.

    Args:
        preprocessor: The ``data_preprocessor`` of a model of any of the frameworks.
        meta: Metadata of the encoder file.

    Returns:
        False when they differ, True when they agree or the file says nothing.
    """
    declared = declared_input(meta)
    if declared is None:
        return True
    # mmpretrain's attribute, that of mmdet and mmengine, that of mmseg
    flags = ('to_rgb', '_channel_conversion', 'channel_conversion')
    found: dict[str, Any] = {'to_rgb': any(getattr(preprocessor, f, 0) for f in flags)}
    same = found['to_rgb'] == declared['to_rgb']
    for key in ('mean', 'std'):
        value = getattr(preprocessor, key, None)
        numbers = torch.as_tensor(torch.nan if value is None else value).cpu()
        numbers, wanted = numbers.double().flatten(), torch.tensor(declared[key])
        same &= torch.allclose(numbers, wanted.double(), atol=0.01)
        found[key] = (
            [round(x, 4) for x in numbers.tolist()] if value is not None else None
        )
    if not same:
        print_log(
            'The encoder was trained on another input normalization than this model '
            f'gives it. Encoder: {input_text(declared)}. Data preprocessor: '
            f'{input_text(found)}. Set model.data_preprocessor to the values of the '
            'encoder.',
            logger='current',
            level=logging.WARNING,
        )
    return same
