"""Second moments of the gradient that reaches a convolution, and K-FAC."""

import math
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .moments import Moments, positions, summarise, symmetric_spectrum


def patches(inputs: Tensor, conv: nn.Conv2d) -> Tensor:
    """Input patches of a convolution: ``(B, C_in*k*k, positions)``.

    Raises:
        ValueError: The convolution has groups.
    """
    if conv.groups != 1:
        raise ValueError(
            f'a convolution with {conv.groups} groups has no single K-FAC factor: '
            'name another one with --conv'
        )
    # A string, 'same' or 'valid', is no padding of unfold, which says so.
    padding = cast(tuple[int, ...], conv.padding)
    return F.unfold(inputs, conv.kernel_size, conv.dilation, padding, conv.stride)


@dataclass
class GradientMoments:
    """Gradients of one loss at one convolution, gathered batch by batch.

    Args:
        samples (list[Tensor]): Weight gradient of each image, ``(C_out, D)``.
        inputs (Moments): Second moment of the input patches, ``(D, D)``.
        outputs (Moments): Second moment of the output gradient, ``(C_out, C_out)``.
    """

    inputs: Moments | None = None
    outputs: Moments | None = None
    samples: list[Tensor] = field(default_factory=list)

    def add(self, inputs: Tensor, gradient: Tensor, conv: nn.Conv2d) -> None:
        """Take in one batch.

        Args:
            inputs (Tensor): Input of the convolution ``(B, C_in, H, W)``.
            gradient (Tensor): Gradient of the batch's mean loss with respect to
                the output, ``(B, C_out, H', W')``.
            conv (nn.Conv2d): The convolution.
        """
        # The loss is a mean over the batch; times B it is the image's own.
        gradient = gradient * len(gradient)
        columns = patches(inputs, conv)
        per_image = torch.einsum('bop,bdp->bod', gradient.flatten(2), columns)
        self.samples.extend(per_image.float().cpu())
        if self.inputs is None:
            self.inputs = Moments(columns.shape[1], centred=False)
            self.outputs = Moments(gradient.shape[1], centred=False)
        self.inputs.add(columns.transpose(1, 2).reshape(-1, columns.shape[1]))
        self.outputs.add(positions(gradient))

    def mean(self) -> Tensor:
        """Gradient of the mean loss, ``(C_out, D)``, double precision."""
        return torch.stack(self.samples).double().mean(0)

    def describe(self) -> dict:
        """Spectra of both second moments and what sums them up."""
        output = symmetric_spectrum(self.outputs.matrix())
        weight = self.sample_spectrum()
        mean = self.mean()
        noise = torch.stack(self.samples).double().sub(mean).square().sum((1, 2)).mean()
        return {
            'norm': float(mean.norm()),
            'signal_to_noise': float(mean.square().sum() / noise)
            if noise > 0
            else None,
            'output_gradient': {**summarise(output), 'eigenvalues': output},
            'weight_gradient': {**summarise(weight), 'eigenvalues': weight},
        }

    def sample_spectrum(self) -> np.ndarray:
        """Non-zero eigenvalues of the mean of ``g g^T`` over images.

        The Gram matrix of the ``N`` gradients has the same ones and is
        ``(N, N)`` where the moment itself is as large as the weights squared.
        """
        flat = torch.stack(self.samples).double().flatten(1)
        return symmetric_spectrum(flat @ flat.T / len(flat))

    def kfac(self, damping: float) -> Tensor:
        """:meth:`mean` pre-conditioned by its own Kronecker factors."""
        return kfac_direction(
            self.mean(), self.outputs.matrix(), self.inputs.matrix(), damping
        )


def kfac_direction(
    gradient: Tensor, output_moment: Tensor, input_moment: Tensor, damping: float
) -> Tensor:
    """K-FAC step ``(G + ..)^-1 V (A + ..)^-1`` for a convolution.

    R. Grosse and J. Martens, "A Kronecker-factored approximate Fisher matrix
    for convolution layers" (ICML 2016), with the factors' damping split in
    proportion to their mean eigenvalues.

    Args:
        gradient (Tensor): ``V (C_out, D)``.
        output_moment (Tensor): ``G (C_out, C_out)``.
        input_moment (Tensor): ``A (D, D)``.
        damping (float): Share of each factor's mean eigenvalue that is added to
            its diagonal.
    """
    if not gradient.any():
        return torch.zeros_like(gradient)
    left, right = (
        moment + damping * moment.diagonal().mean() * torch.eye(len(moment)).to(moment)
        for moment in (output_moment, input_moment)
    )
    half = torch.cholesky_solve(gradient, torch.linalg.cholesky(left))
    return torch.cholesky_solve(half.T, torch.linalg.cholesky(right)).T


def angle(x: Tensor, y: Tensor) -> float:
    """Angle between two tensors in degrees; NaN when one is zero."""
    norms = x.norm() * y.norm()
    if norms == 0:
        return math.nan
    cosine = ((x * y).sum() / norms).clamp(-1, 1)
    return math.degrees(math.acos(float(cosine)))
