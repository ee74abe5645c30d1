"""From features through DropCov's channel dropout to the triangle of the covariance.

Alone, the factors of the channels are a dozen operations on numbers as few as the
channels, each recorded for the gradient; on small maps that took longer than the
products. Here the features are centred once for the rate and the covariance, and the
gradient of everything is written by hand.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .covariance import covariance
from .drop_rate import importance_of_means, keep_factors, rate_of_reweighted
from .precision import full_precision, full_precision_backward
from .triangle import triangle, triangle_gradient


def plain_vector(x: Tensor, weight: Tensor, keep: Tensor) -> Tensor:
    """The same function for given factors ``keep``, in operations autograd knows."""
    factors = (1 + importance_of_means(x.mean(2), weight)) * keep
    return triangle(covariance(x * factors.unsqueeze(2)))


class _DroppedCovarianceVector(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, max_rate, sync):
        means = x.mean(2)
        deviation = x - means.unsqueeze(2)
        importance = importance_of_means(means, weight)
        rate = rate_of_reweighted(deviation, means, importance, max_rate, sync)
        keep = keep_factors(rate, *importance.shape)
        factors = (1 + importance).mul_(keep)
        ctx.save_for_backward(x, weight, means, importance, keep, factors)
        scaled = deviation.mul_(factors.unsqueeze(2))
        return triangle(torch.bmm(scaled, scaled.transpose(1, 2))).div_(x.size(2))

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        x, weight, means, importance, keep, factors = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = [t for t in (x, weight) if t.requires_grad]
            out = plain_vector(x, weight, keep)
            found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
            to_x, to_weight = [
                next(found) if t.requires_grad else None for t in (x, weight)
            ]
            return to_x, to_weight, None, None
        n = x.size(2)
        deviation = x - means.unsqueeze(2)
        factors = factors.unsqueeze(2)
        # (G + G') Xc sums to zero over the positions: no second centring.
        product = torch.bmm(triangle_gradient(grad, x.size(1)), deviation * factors)
        # To the factors, through the softmax, to the scores of the channels.
        to_softmax = deviation.mul_(product).sum(2).mul_(keep).mul_(importance)
        total = to_softmax.sum(1, keepdim=True)
        to_scores = torch.addcmul(to_softmax, importance, total, value=-1)
        # The convolution over the channels: one set of windows serves both gradients.
        windows = F.pad(to_scores, (1, 1)).unfold(1, 3, 1).reshape(-1, 3)
        to_means = torch.mv(windows, weight.flatten().flip(0)).view_as(means)
        to_weight = torch.mv(windows.t(), means.flatten()).flip(0).div_(n)
        # The positions share what arrives at their mean, and the covariance is divided
        # by as many.
        to_x = torch.addcmul(to_means.div_(n * n).unsqueeze(2), product, factors / n)
        return to_x, to_weight.view_as(weight), None, None


@full_precision
def dropped_covariance_vector(
    x: Tensor, weight: Tensor, max_rate: float, sync: bool
) -> Tensor:
    """Upper triangle of the covariance of re-weighted features, channels dropped.

    Args:
        x: Features ``(B, C, N)``.
        weight: Filter ``(1, 1, 3)`` of the importance.
        max_rate: Upper limit of the rate.
        sync: Average the statistic of the rate over the processes.

    Returns:
        Vectors ``(B, C * (C + 1) / 2)``.
    """
    return _DroppedCovarianceVector.apply(x, weight.to(x.dtype), max_rate, sync)
