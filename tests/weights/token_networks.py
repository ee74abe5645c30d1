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


class _Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attn.proj = nn.Linear(dim, dim)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def attend(self, x):
        out = []
        parts = (
            part.chunk(self.heads, 2)
            for part in self.attn.qkv(self.norm1(x)).chunk(3, 2)
        )
        for query, key, value in zip(*parts, strict=True):
            scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
            out.append(scores.softmax(2) @ value)
        return self.attn.proj(torch.cat(out, 2))

    def forward(self, x):
        x = x + self.attend(x)
        return x + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(x))))


class TokenNet(nn.Module):
    """``forward`` returns the tokens after the last norm, and the logits.

    ``groups`` of the projection is 3 in DropCov, where one is never read, and 2 in
    So-ViT.
    """

    def __init__(
        self, dim, depth, heads, hidden, pool_heads, pool_dims, groups, side=4
    ):
        super().__init__()
        self.pool_heads, self.pool_dims = pool_heads, pool_dims
        self.visual_tokens, self.classifier = nn.Module(), nn.Module()
        self.visual_tokens.tokens = _Tokens(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side**2, dim))
        self.blocks = nn.Sequential(*(_Block(dim, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.classifier.representation = nn.Module()
        rows = groups * pool_heads * pool_dims
        self.classifier.representation.wr = nn.Linear(dim, rows, bias=False)
        self.classifier.visual_fc = nn.Linear(pool_heads * pool_dims**2, 10)
        self.classifier.cls_fc = nn.Linear(dim, 10)

    def second_order(self, tokens):
        size = self.pool_heads * self.pool_dims
        rows = []
        for sample in self.classifier.representation.wr(tokens):
            parts = (sample[:, :size], sample[:, size : 2 * size])
            pairs = zip(*(p.chunk(self.pool_heads, 1) for p in parts), strict=True)
            matrices = [(q - q.mean()).T @ (k - k.mean()) / len(q) for q, k in pairs]
            rows.append(torch.cat([matrix.flatten() for matrix in matrices]))
        return torch.stack(rows)

    def forward(self, x):
        tokens = self.visual_tokens.tokens(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens + self.pos_embed))
        vector = self.second_order(tokens[:, 1:])
        logits = self.classifier.cls_fc(tokens[:, 0])
        return tokens, logits + self.classifier.visual_fc(vector)
