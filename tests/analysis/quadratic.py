"""A loss with a known Hessian, in the form of a framework's model."""

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from mmgcp.analysis.sample import Batches


class Passing(BaseDataPreprocessor):
    def forward(self, data, training=False):
        return data


class Quadratic(BaseModel):
    """``0.5 theta^T H theta * input``; the mean input is 1."""

    def __init__(self, hessian, theta):
        super().__init__(data_preprocessor=Passing())
        self.backbone = nn.Linear(len(theta), 1, bias=False)
        self.backbone.weight.data = theta.clone()[None].float()
        self.register_buffer('hessian', hessian.float())

    def forward(self, inputs, data_samples=None, mode='loss'):
        theta = self.backbone.weight[0]
        return {'loss': 0.5 * (theta @ self.hessian @ theta) * inputs.mean()}


def batches(*means, sizes=None):
    data = [{'inputs': torch.full((1,), m), 'data_samples': []} for m in means]
    sizes = list(sizes or [1] * len(means))
    return Batches(data, sizes, sum(sizes), {})


def symmetric(eigenvalues, seed=0):
    """Matrix with chosen eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator).double())[0]
    return basis @ torch.diag(torch.tensor(eigenvalues).double()) @ basis.T
