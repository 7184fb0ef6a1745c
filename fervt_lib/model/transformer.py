"""The visual transformer: a class token, learned positions, a pre-norm encoder and a linear head."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchvision.ops import StochasticDepth


class MultiHeadAttention(nn.Module):
    """Self-attention that returns its weights. Parameters are laid out as in torch's nn.MultiheadAttention."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} cannot be split evenly among {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn tokens `(b, t, dim)` into tokens of that shape and weights `(b, heads, query, key)`, Σ over keys = 1."""
        q, k, v = rearrange(self.qkv(x), "b t (three heads d) -> three b heads t d", three=3, heads=self.heads)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)  # (b, heads, query, key)
        mixed = rearrange(weights.to(v.dtype) @ v, "b heads t d -> b t (heads d)")
        return self.out(mixed), weights

    def of_first(self, x: Tensor) -> Tensor:
        """Turn tokens `(b, t, dim)` into `forward`'s first output token `(b, 1, dim)`; only token 0 sends a query."""
        dim = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = rearrange(F.linear(x[:, :1], weight[:dim], bias[:dim]), "b t (heads d) -> b heads t d", heads=self.heads)
        both = F.linear(x, weight[dim:], bias[dim:])
        k, v = rearrange(both, "b t (two heads d) -> two b heads t d", two=2, heads=self.heads)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)  # (b, heads, 1, key)
        return self.out(rearrange(weights.to(v.dtype) @ v, "b heads t d -> b t (heads d)"))


class EncoderLayer(nn.Module):
    """Pre-norm attention and feed-forward network, each on a residual path that stochastic depth may skip.

    We drop whole paths (one random number per face) in place of dropout, whose random numbers cost a CPU more than
    the matrix products that it thins out.
    """

    def __init__(self, dim: int, heads: int, ffn: int, drop_path: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.GELU(), nn.Linear(ffn, dim))
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn tokens `(b, t, dim)` into new tokens and this layer's attention weights `(b, heads, t, t)`."""
        mixed, weights = self.attention(self.norm1(x))
        x = x + self.drop_path(mixed)
        return x + self.drop_path(self.ffn(self.norm2(x))), weights

    def of_first(self, x: Tensor) -> Tensor:
        """Turn tokens `(b, t, dim)` into the first output token of `forward`, `(b, 1, dim)`."""
        x = x[:, :1] + self.drop_path(self.attention.of_first(self.norm1(x)))
        return x + self.drop_path(self.ffn(self.norm2(x)))


class VisualTransformer(nn.Module):
    """Encoder and head. Token 0 is the class token; the head reads its final state."""

    def __init__(self, tokens: int, dim: int, layers: int, heads: int, ffn: int, classes: int, drop_path: float):
        super().__init__()
        self.cls = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + tokens, dim))
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, ffn, drop_path) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.cls, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Turn tokens `(b, t, dim)` into logits `(b, classes)` and each layer's weights `(b, heads, 1 + t, 1 + t)`."""
        x, attention = self._embed(tokens), []
        for layer in self.layers:
            x, weights = layer(x)
            attention.append(weights)
        return self.head(self.norm(x[:, 0])), attention

    def logits(self, tokens: Tensor) -> Tensor:
        """The same logits `(b, classes)`, but faster: from the last layer, we compute only the class token."""
        x = self._embed(tokens)
        for layer in self.layers[:-1]:
            x, _ = layer(x)
        return self.head(self.norm(self.layers[-1].of_first(x)[:, 0]))

    def _embed(self, tokens: Tensor) -> Tensor:
        return torch.cat([self.cls.expand(tokens.shape[0], -1, -1), tokens], dim=1) + self.positions
