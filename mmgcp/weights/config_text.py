"""Settings out of the config text in a checkpoint, without running it."""

import ast
from typing import Any, cast


def read_setting(text: str, name: str) -> Any:
    """Value of a top-level assignment that consists of literals and ``dict()``.

    Args:
        text: Config as mmengine writes it into a checkpoint.
        name: Variable, for example ``'model'``.

    Returns:
        The value, or None when there is none or it is more than literals.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name
            for target in node.targets
        ):
            try:
                return _literal(node.value)
            except ValueError:
                return None
    return None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {
            _literal(cast(ast.expr, key)): _literal(value)
            for key, value in zip(node.keys, node.values, strict=True)
        }
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and not node.args
        and all(keyword.arg for keyword in node.keywords)
    ):
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    return ast.literal_eval(node)
