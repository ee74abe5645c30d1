"""Networks written down a second time, with the names of the published code.

They share nothing with the package: torchvision's where there is one, covariance
and Newton-Schulz iteration as loops over matrices. Each returns its last feature map
and the logits.
"""

from functools import partial

import torch
import torchvision
from torch import nn


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics, as after training; evaluation mode."""
    source = dict(generator=torch.Generator().manual_seed(seed), device='cpu')
    rand, randn = partial(torch.rand, **source), partial(torch.randn, **source)
    for name, tensor in network.state_dict().items():
        if name.endswith('num_batches_tracked'):
            tensor.fill_(7)
        elif name.endswith('running_var'):
            tensor.copy_(0.5 + rand(tensor.shape))
        elif name.endswith(('running_mean', 'bias')):
            tensor.copy_(0.1 * randn(tensor.shape))
        elif tensor.dim() == 1:
            tensor.copy_(0.8 + 0.4 * rand(tensor.shape))
        else:
            noise = randn(tensor.shape)
            tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
    return network.eval()


def second_order(x: torch.Tensor, square_root: bool) -> torch.Tensor:
    """Upper triangles of the covariances of ``(B, C, H, W)``, or of their roots."""
    rows = []
    for sample in x.flatten(2):
        centered = sample - sample.mean(1, keepdim=True)
        matrix = sum(torch.outer(p, p) for p in centered.T) / sample.shape[1]
        size = len(matrix)
        if square_root:
            trace, identity = matrix.trace(), torch.eye(size, dtype=matrix.dtype)
            y, z = matrix / trace, identity
            for _ in range(5):
                step = (3 * identity - z @ y) / 2
                y, z = y @ step, step @ z
            matrix = y * trace.sqrt()
        rows.append(
            torch.stack([matrix[i, j] for i in range(size) for j in range(i, size)])
        )
    return torch.stack(rows)


class GapResNet(nn.Module):
    """torchvision's ResNet; ``deep`` gives it the stem and shortcuts of timm."""

    def __init__(self, depth: int, deep: bool = False):
        super().__init__()
        base = getattr(torchvision.models, f'resnet{depth}')(num_classes=10)
        for name in ('conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4', 'fc'):
            setattr(self, name, getattr(base, name))
        if not deep:
            return
        widths = ((3, 32, 2), (32, 32, 1), (32, 64, 1))
        convs = [nn.Conv2d(i, o, 3, stride, 1, bias=False) for i, o, stride in widths]
        norms = [nn.BatchNorm2d(32), nn.BatchNorm2d(32)]
        self.conv1 = nn.Sequential(
            *(convs[0], norms[0], nn.ReLU(), convs[1], norms[1], nn.ReLU(), convs[2])
        )
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            if stage[0].downsample is not None:
                conv, norm = stage[0].downsample
                stride, conv.stride = conv.stride, (1, 1)
                pool = nn.AvgPool2d(stride, stride, ceil_mode=True)
                keep = nn.Identity() if stride == (1, 1) else pool
                stage[0].downsample = nn.Sequential(keep, conv, norm)

    def last_map(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        x = self.last_map(x)
        return x, self.fc(x.mean((2, 3)))


class CovarianceResNet(GapResNet):
    """Names of GCP_Optimization and DropCov (``kind`` isqrt or dropcov)."""

    def __init__(self, depth: int, dim: int, kind: str, landscape: bool = False):
        super().__init__(depth)
        self.kind = kind
        first = self.layer4[0]
        (first.conv2 if hasattr(first, 'conv3') else first.conv1).stride = (1, 1)
        first.downsample[0].stride = (1, 1)
        names = ('layer_reduce', 'layer_reduce_bn')
        self.names = ('Layer_Reduce', 'Layer_Reduce_BN') if landscape else names
        channels = self.fc.in_features
        setattr(self, self.names[0], nn.Conv2d(channels, dim, 1, bias=False))
        setattr(self, self.names[1], nn.BatchNorm2d(dim))
        if kind == 'dropcov':
            # in the files of DropCov, and unused in evaluation
            self.eca_layer = nn.Module()
            self.eca_layer.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.fc = nn.Linear(dim * (dim + 1) // 2, 10)

    def forward(self, x):
        x = self.last_map(x)
        conv, norm = (getattr(self, name) for name in self.names)
        reduced = torch.relu(norm(conv(x)))
        return x, self.fc(second_order(reduced, self.kind == 'isqrt'))


class FastMpnCov(nn.Module):
    """Training model of fast-MPN-COV: ``features``, ``representation``, ``classifier``.

    ``fine_tuning`` has the reduction of the pre-trained model as features.8 and .9,
    ``parallel`` wraps the features alone in ``DataParallel``.
    """

    def __init__(self, depth: int, dim: int, fine_tuning: bool, parallel: bool):
        super().__init__()
        net = CovarianceResNet(depth, dim, 'isqrt')
        parts = [net.conv1, net.bn1, nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        parts += [net.layer1, net.layer2, net.layer3, net.layer4]
        reduction = [net.layer_reduce, net.layer_reduce_bn, nn.ReLU()]
        self.representation = nn.Module()
        if fine_tuning:
            parts += reduction
        else:
            self.representation.conv_dr_block = nn.Sequential(*reduction)
        features = nn.Sequential(*parts)
        self.features = nn.DataParallel(features) if parallel else features
        self.classifier = nn.Linear(dim * (dim + 1) // 2, 10)

    def forward(self, x):
        features = getattr(self.features, 'module', self.features)
        x = features[:8](x)
        reduction = getattr(self.representation, 'conv_dr_block', features[8:])
        return x, self.classifier(second_order(reduction(x), square_root=True))


class MobileNet(nn.Module):
    """MobileNetV2 or ShuffleNetV2 of torchvision, with the published additions."""

    def __init__(self, name: str, dim: int | None, landscape: bool = False):
        super().__init__()
        base = getattr(torchvision.models, name)(num_classes=10)
        self.mobile = name == 'mobilenet_v2'
        for child, module in base.named_children():
            setattr(self, child, module)
        channels = 1280 if self.mobile else self.conv5[0].out_channels
        self.dim = dim
        if dim is not None:
            self.dimension_reduction = nn.Sequential(
                nn.Conv2d(channels, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU6()
            )
        fc = nn.Linear(channels if dim is None else dim * (dim + 1) // 2, 10)
        if self.mobile and landscape:
            # numbered anew, which a slice of a Sequential is not
            first, *rest = self.features
            self.conv1, self.features = first, nn.Sequential(*rest)
            del self.classifier
            self.fc = fc
        elif self.mobile:
            self.classifier = nn.Sequential(nn.Dropout(0.2), fc)
        else:
            self.fc = fc

    def forward(self, x):
        if hasattr(self, 'conv1'):
            x = self.conv1(x)
        if self.mobile:
            x = self.features(x)
        else:
            x = self.stage4(self.stage3(self.stage2(self.maxpool(x))))
            x = self.conv5(x)
        if self.dim is None:
            vector = x.mean((2, 3))
        else:
            vector = second_order(self.dimension_reduction(x), True)
        head = self.fc if hasattr(self, 'fc') else self.classifier
        return x, head(vector)
