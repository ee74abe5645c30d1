"""Which layer of an encoder a parameter belongs to, for freezing and learning rates."""

from collections.abc import Iterable, Sequence

from torch import nn


def layer_depths(names: Iterable[str], layers: Sequence[str]) -> dict[str, int]:
    """Number of the layer that each parameter belongs to.

    It is 0 in front of the layers (stem, tokens, position embedding), ``i + 1`` in
    ``layers[i]`` and on the way to it, and ``len(layers) + 1`` behind them. ``names``
    come in the order in which the module registered them.
    """
    depths, current = {}, 0
    for name in names:
        inside = (
            i + 1 for i, layer in enumerate(layers) if name.startswith(f'{layer}.')
        )
        found = next(inside, None)
        if found is None and current:
            depths[name] = current + 1
        else:
            current = depths[name] = max(current, found or 0)
    return depths


def freeze_layers(module: nn.Module, layers: Sequence[str], number: int) -> None:
    """Freeze the first ``number`` layers and what is in front of them.

    Parts of which every parameter is frozen go to evaluation mode, with the dropout
    inside them. -1 freezes nothing.
    """
    depths = layer_depths([name for name, _ in module.named_parameters()], layers)
    frozen = {p for name, p in module.named_parameters() if depths[name] <= number}
    for parameter in frozen:
        parameter.requires_grad = False
    for name, part in module.named_modules():
        parameters = set(part.parameters())
        if name and parameters and parameters <= frozen:
            part.eval()
