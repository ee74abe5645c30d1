"""The transformer of DropCov and So-ViT, written down from its description."""

import torch
from torch import nn


class _DenseLayer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 1, bias=False)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv2(self.conv1(x.relu()).relu())], 1)


class _Transition(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, 128, 1, bias=False)

    def forward(self, x):
        return nn.functional.avg_pool2d(self.conv(self.norm(x)), 2)


class _Tokens(nn.Module):
    def __init__(self, dim):
        super().__init__()
        conv = nn.Conv2d(3, 64, 3, padding=1)
        self.stem = nn.Sequential(conv, nn.MaxPool2d(3, 2, 1))
        self.stage = nn.Sequential()
        channels = 64
        for _ in range(3):
            block = nn.Sequential()
            for i in range(6):
                block.add_module(f'denselayer{i + 1}', _DenseLayer(channels + 16 * i))
            self.stage.append(block)
            self.stage.append(_Transition(channels + 96))
            channels = 128
        self.transition = nn.Conv2d(128, dim, 1)

    def forward(self, x):
        return self.transition(self.stage(self.stem(x)))


class _Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        out = []
        for query, key, value in zip(
            *(p.split(p.shape[2] // self.heads, 2) for p in self.qkv(x).chunk(3, 2)),
            strict=True,
        ):
            scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
            out.append(scores.softmax(2) @ value)
        return self.proj(torch.cat(out, 2))


class _Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, dim, heads, hidden, eps):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=eps) for _ in range(2))
        self.attn = _Attention(dim, heads)
        self.mlp = _Mlp(dim, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Representation(nn.Module):
    """Cross-covariances; ``groups`` is 3 in DropCov, where one is never read."""

    def __init__(self, dim, heads, channels, groups):
        super().__init__()
        self.heads, self.channels, self.groups = heads, channels, groups
        self.wr = nn.Linear(dim, groups * heads * channels, bias=False)

    def forward(self, tokens):
        rows = []
        for sample in self.wr(tokens):
            size = self.heads * self.channels
            query, key = sample[:, :size], sample[:, size : 2 * size]
            parts = []
            for h in range(self.heads):
                part = slice(h * self.channels, (h + 1) * self.channels)
                q, k = query[:, part], key[:, part]
                parts.append((q - q.mean()).T @ (k - k.mean()) / len(q))
            rows.append(torch.cat([part.flatten() for part in parts]))
        return torch.stack(rows)


class TokenNet(nn.Module):
    """``forward`` returns the tokens after the last norm, and the logits."""

    def __init__(
        self, dim, depth, heads, hidden, pool_heads, pool_dims, groups, side=4
    ):
        super().__init__()
        self.visual_tokens = nn.Module()
        self.visual_tokens.tokens = _Tokens(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side**2, dim))
        self.blocks = nn.Sequential(
            *(_Block(dim, heads, hidden, 1e-5) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Module()
        self.classifier.representation = _Representation(
            dim, pool_heads, pool_dims, groups
        )
        self.classifier.visual_fc = nn.Linear(pool_heads * pool_dims**2, 10)
        self.classifier.cls_fc = nn.Linear(dim, 10)

    def forward(self, x):
        tokens = self.visual_tokens.tokens(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens + self.pos_embed))
        vector = self.classifier.representation(tokens[:, 1:])
        logits = self.classifier.cls_fc(tokens[:, 0])
        return tokens, logits + self.classifier.visual_fc(vector)
