"""The last output of any encoder as a map."""

from torch import Tensor

from mmgcp.utils.errors import ConfigValueError


def last_map(
    neck: str, inputs: Tensor | tuple[Tensor, ...], in_channels: int | None = None
) -> Tensor:
    """The last map ``(B, C, H, W)``; of tokens ``(B, 1 + N, C)`` all but the first.

    The first token is the class token; the others become a map ``(B, C, N, 1)``.

    Raises:
        ConfigValueError: It is neither, or has other channels than ``in_channels``.
    """
    x = inputs[-1] if isinstance(inputs, tuple | list) else inputs
    if x.dim() == 3:
        x = x[:, 1:].transpose(1, 2).unsqueeze(3)
    if x.dim() != 4:
        raise ConfigValueError(
            f'mmgcp.{neck}: expected a map (B, C, H, W) or tokens (B, 1 + N, C), got '
            f'{tuple(x.shape)}: the encoder has pooled already. Set its '
            "gap_before_final_norm=False (ConvNeXt) or out_type='raw' (ViT)"
        )
    if in_channels not in (None, x.shape[1]):
        raise ConfigValueError(
            f'mmgcp.{neck}: in_channels={in_channels}, but the last map of the encoder '
            f'has {x.shape[1]} channels: set neck.in_channels={x.shape[1]}'
        )
    return x
