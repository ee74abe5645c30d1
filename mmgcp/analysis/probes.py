"""Pooling heads put on top of a finished encoder, each fitted to its features."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mmgcp.layers import covariance, matrix_power, newton_schulz_sqrt, triangle

from .moments import Moments, positions

# Pooling heads by the words of the papers; each maps a covariance (B, r, r).
COVARIANCE_HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    'covariance': lambda matrix: matrix,
    'isqrt': newton_schulz_sqrt,
    'mpn': matrix_power,
}
HEADS = ('gap', *COVARIANCE_HEADS)


def pool(head: str, features: Tensor, basis: Tensor) -> Tensor:
    """Pool a feature map ``(B, C, H, W)`` into one vector per image.

    Args:
        head (str): One of :data:`HEADS`.
        features (Tensor): The encoder's last map.
        basis (Tensor): ``(C, r)``, the reduction in front of a covariance.
    """
    if head == 'gap':
        return features.flatten(2).mean(2)
    reduced = torch.einsum('bchw,cr->brhw', features, basis)
    return triangle(COVARIANCE_HEADS[head](covariance(reduced)))


def principal_basis(maps: list[Tensor], channels: int) -> Tensor:
    """Leading principal directions of the channels, ``(C, r)``.

    They stand in for the learnt reduction of a covariance head, so that every
    encoder gets the same treatment whatever head it was trained with.
    """
    moments = Moments(maps[0].shape[1])
    for features in maps:
        moments.add(positions(features))
    vectors = torch.linalg.eigh(moments.matrix())[1].flip(1)
    return vectors[:, :channels].to(maps[0])


class Probe:
    """A pooling head with a linear classifier, fitted with the encoder frozen.

    Multinomial logistic regression with an l2 penalty, by L-BFGS. One scalar
    brings the vectors to unit scale; single entries are not standardised, which
    would be a pre-conditioner of its own.

    Args:
        head (str): One of :data:`HEADS`.
        basis (Tensor): Reduction, see :func:`pool`.
        maps (list[Tensor]): Feature maps of the sample.
        labels (Tensor): ``(N,)`` classes.
        penalty (float): Weight of the l2 penalty.
    """

    def __init__(
        self,
        head: str,
        basis: Tensor,
        maps: list[Tensor],
        labels: Tensor,
        penalty: float = 1e-3,
    ) -> None:
        self.head, self.basis = head, basis
        with torch.no_grad():
            vectors = torch.cat([pool(head, m, basis) for m in maps])
        self.scale = float(vectors.square().mean().sqrt().clamp_min(1e-12))
        vectors = vectors / self.scale
        classes = int(labels.max()) + 1
        weight = vectors.new_zeros(classes, vectors.shape[1], requires_grad=True)
        bias = vectors.new_zeros(classes, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [weight, bias], max_iter=60, line_search_fn='strong_wolfe'
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            fit = F.cross_entropy(F.linear(vectors, weight, bias), labels)
            loss = fit + penalty * weight.square().sum() / 2
            loss.backward()
            return loss

        optimiser.step(closure)
        self.weight, self.bias = weight.detach(), bias.detach()
        logits = F.linear(vectors, self.weight, self.bias)
        self.fit = {
            'loss': float(F.cross_entropy(logits, labels)),
            'accuracy_on_its_sample': float(
                (logits.argmax(1) == labels).float().mean()
            ),
            'dimension': vectors.shape[1],
        }

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of feature maps ``(B, C, H, W)``."""
        vectors = pool(self.head, features, self.basis) / self.scale
        return F.cross_entropy(F.linear(vectors, self.weight, self.bias), labels)
