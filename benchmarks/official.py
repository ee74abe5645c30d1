"""The published algorithms written plainly: what speed and values are held against.

These follow the arithmetic of the released fast-MPN-COV and DropCov networks step by
step (explicit centering matrix, a stored slot per Newton-Schulz step, ten products per
step in the backward pass, a loop over the samples for the trace), with their result
of shape ``(B, K, 1)`` and their behavior on degenerate input. Nothing of the package
uses them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OfficialCovariance(torch.autograd.Function):
    """``X J X'`` with the centering matrix ``J`` formed for every sample."""

    @staticmethod
    def forward(ctx, x):
        batch, channels, height, width = x.shape
        n = height * width
        x = x.reshape(batch, channels, n)
        # Built in float32 whatever the dtype of x, as published.
        eye = torch.eye(n, device=x.device)
        centering = eye / n - 1.0 / n / n
        centering = centering.view(1, n, n).repeat(batch, 1, 1).type(x.dtype)
        ctx.save_for_backward(x, centering)
        ctx.spatial = (height, width)
        return x.bmm(centering).bmm(x.transpose(1, 2))

    @staticmethod
    def backward(ctx, grad):
        x, centering = ctx.saved_tensors
        grad = grad + grad.transpose(1, 2)
        return grad.bmm(x).bmm(centering).reshape(*x.shape[:2], *ctx.spatial)


def _identities(x: Tensor) -> Tensor:
    batch, n = x.shape[:2]
    return torch.eye(n, device=x.device).view(1, n, n).repeat(batch, 1, 1).type(x.dtype)


class OfficialSquareRoot(torch.autograd.Function):
    """Coupled Newton-Schulz iteration with trace pre- and post-normalization."""

    @staticmethod
    def forward(ctx, x, steps):
        batch, n = x.shape[:2]
        eye3 = 3.0 * _identities(x)
        trace = (1.0 / 3.0) * x.mul(eye3).sum(dim=1).sum(dim=1)
        a = x.div(trace.view(batch, 1, 1).expand_as(x))
        ys = torch.zeros(batch, steps, n, n, dtype=x.dtype, device=x.device)
        zs = (
            torch.eye(n, device=x.device)
            .view(1, 1, n, n)
            .repeat(batch, steps, 1, 1)
            .type(x.dtype)
        )
        last = 0.5 * (eye3 - a)
        if steps < 2:
            root = a.bmm(last)
        else:
            ys[:, 0] = a.bmm(last)
            zs[:, 0] = last
            for k in range(1, steps - 1):
                last = 0.5 * (eye3 - zs[:, k - 1].bmm(ys[:, k - 1]))
                ys[:, k] = ys[:, k - 1].bmm(last)
                zs[:, k] = last.bmm(zs[:, k - 1])
            last = 0.5 * (eye3 - zs[:, steps - 2].bmm(ys[:, steps - 2]))
            root = ys[:, steps - 2].bmm(last)
        out = root * torch.sqrt(trace.view(batch, 1, 1)).expand_as(x)
        ctx.save_for_backward(x, a, root, trace, ys, zs)
        ctx.steps = steps
        return out

    @staticmethod
    def backward(ctx, grad):
        x, a, root, trace, ys, zs = ctx.saved_tensors
        steps = ctx.steps
        batch, n = x.shape[:2]
        eye3 = 3.0 * _identities(x)
        post = grad * torch.sqrt(trace).view(batch, 1, 1).expand_as(x)
        compensation = (grad * root).sum(dim=1).sum(dim=1).div(2 * torch.sqrt(trace))
        if steps < 2:
            da = 0.5 * (post.bmm(eye3 - a) - a.bmm(post))
        else:
            y, z = ys[:, steps - 2], zs[:, steps - 2]
            dy = 0.5 * (post.bmm(eye3 - y.bmm(z)) - z.bmm(y).bmm(post))
            dz = -0.5 * y.bmm(post).bmm(y)
            for k in range(steps - 3, -1, -1):
                y, z = ys[:, k], zs[:, k]
                yz = eye3 - y.bmm(z)
                zy = z.bmm(y)
                new_y = 0.5 * (dy.bmm(yz) - z.bmm(dz).bmm(z) - zy.bmm(dy))
                new_z = 0.5 * (yz.bmm(dz) - y.bmm(dy).bmm(y) - dz.bmm(zy))
                dy, dz = new_y, new_z
            da = 0.5 * (dy.bmm(eye3 - a) - dz - a.bmm(dy))
        # Published with the transpose; the covariance before it symmetrizes.
        da = da.transpose(1, 2)
        out = da / trace.view(batch, 1, 1).expand_as(x)
        inner = (da * x).sum(dim=1).sum(dim=1)
        for i in range(batch):
            out[i] += (compensation[i] - inner[i] / (trace[i] * trace[i])) * torch.ones(
                n, dtype=x.dtype, device=x.device
            ).diag()
        return out, None


class OfficialTriangle(torch.autograd.Function):
    """Upper triangle through a column of indices, ``(B, K, 1)``."""

    @staticmethod
    def forward(ctx, x):
        batch, n = x.shape[:2]
        flat = x.reshape(batch, n * n)
        index = torch.ones(n, n, device=x.device).triu().reshape(n * n).nonzero()
        ctx.save_for_backward(x, index)
        return flat[:, index]

    @staticmethod
    def backward(ctx, grad):
        x, index = ctx.saved_tensors
        batch, n = x.shape[:2]
        out = torch.zeros(batch, n * n, dtype=x.dtype, device=x.device)
        out[:, index] = grad
        return out.reshape(batch, n, n)


def official_isqrt(x: Tensor, steps: int = 5) -> Tensor:
    """iSQRT-COV of ``(B, C, H, W)`` as published: ``(B, K, 1)``."""
    covariance = OfficialCovariance.apply(x)
    return OfficialTriangle.apply(OfficialSquareRoot.apply(covariance, steps))


class OfficialDropCov(nn.Module):
    """Tail of a DropCov network as published: ``(B, C, H, W)`` to ``(B, K, 1)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels in training; then covariance and triangle."""
        if self.training:
            batch, channels = x.shape[:2]
            y = F.adaptive_avg_pool2d(x, 1)
            y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2)
            y = y.unsqueeze(-1).softmax(dim=1)
            x = x * y.expand_as(x) + x
            rate = self.rate(x, y.view(batch, channels)).item()
            x = nn.Dropout2d(rate)(x)
        return OfficialTriangle.apply(OfficialCovariance.apply(x))

    @staticmethod
    def rate(x: Tensor, importance: Tensor) -> Tensor:
        """Rate from re-weighted features and importance ``(B, C)``."""
        sums = OfficialCovariance.apply(x).sum(dim=2)
        inner = (importance * sums).sum(dim=1)
        cosine = inner / (importance.norm(dim=1) * sums.norm(dim=1))
        scale = 10 / math.log2(x.size(1))
        return torch.clamp(1 - scale * cosine.mean(), 0, 1)
