"""Multi-head cross-covariance of tokens (MGCrP)."""

from torch import Tensor, nn

from .precision import full_precision

CENTRES = ('channel', 'scalar', 'none')


@full_precision
def multi_head_cross_covariance(
    query: Tensor, key: Tensor, centre: str = 'channel'
) -> Tensor:
    """Cross-covariance of two projections of the tokens, head by head.

    Args:
        query: First projection ``(B, heads, N, d)``.
        key: Second projection ``(B, heads, N, e)``.
        centre: What is subtracted. ``'channel'``: the mean of every channel over
            the tokens, which makes the result a cross-covariance. ``'scalar'``: one
            number per sample and head, the mean over tokens *and* channels; the
            released So-ViT and DropCov code does this (it pools a 3-D tensor over
            its last two dimensions), so their weights need it. ``'none'``: nothing.

    Returns:
        Cross-covariances ``(B, heads, d, e)``.

    Raises:
        ValueError: An unknown ``centre``, or shapes that do not match.

    Xie et al., "So-ViT: mind visual tokens for vision transformer", 2021; Wang et
    al., "DropCov: a simple yet effective method for improving deep architectures",
    NeurIPS 2022.
    """
    if centre not in CENTRES:
        raise ValueError(f'centre must be one of {CENTRES}, got {centre!r}')
    if query.dim() != 4 or query.shape[:3] != key.shape[:3]:
        raise ValueError(
            'query and key must be (B, heads, N, d) with the same B, heads and N, '
            f'got {tuple(query.shape)} and {tuple(key.shape)}'
        )
    if centre != 'none':
        dims = (2,) if centre == 'channel' else (2, 3)
        query = query - query.mean(dim=dims, keepdim=True)
        key = key - key.mean(dim=dims, keepdim=True)
    return (query / query.size(2)).transpose(2, 3) @ key


class MultiHeadCrossCovariance(nn.Module):
    """Module form of :func:`multi_head_cross_covariance`."""

    def __init__(self, centre: str = 'channel') -> None:
        super().__init__()
        if centre not in CENTRES:
            raise ValueError(f'centre must be one of {CENTRES}, got {centre!r}')
        self.centre = centre

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Map ``(B, heads, N, d)`` and ``(B, heads, N, e)`` to ``(B, heads, d, e)``."""
        return multi_head_cross_covariance(query, key, self.centre)

    def extra_repr(self) -> str:
        """Show the choice of centre when the module is printed."""
        return f'centre={self.centre!r}'
