"""Visual tokens: the pyramid's maps as a sequence for the transformer."""

import torch
from einops import rearrange
from torch import Tensor, nn

from .backbone import Pyramid


class LevelTokens(nn.Module):
    """One token per pyramid level (the paper, as the unofficial code reads it).

    We convolve each level's map to a few channels, pool it to 8×8 and flatten it: 3×8×8 = 192.
    Every level has its own convolution, LayerNorm and Linear.
    """

    cells = (1, 1, 1)

    def __init__(self, channels: tuple[int, ...], dim: int):
        super().__init__()
        self.dim = dim
        if dim % 64:
            raise ValueError(
                f"dim {dim}: a level token is a flattened map of 8×8 cells, so dim must be a multiple of 64"
            )
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, dim // 64, 1),
                nn.AdaptiveAvgPool2d(8),
                nn.Flatten(),
                nn.LayerNorm(dim),
                nn.Linear(dim, dim),
            )
            for c in channels
        )

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Turn three maps `(b, c, h, w)` into tokens `(b, 3, dim)`."""
        return torch.stack([level(x) for level, x in zip(self.levels, pyramid, strict=True)], dim=1)


class SpatialTokens(nn.Module):
    """One token per cell of each level's pooled map (ours), so that we can lay attention over the face.

    Args:
        channels: channels of the pyramid's maps.
        dim: length of a token.
        sides: cells per side that each level is pooled to; (3, 3, 6) gives 9 + 9 + 36 tokens.
    """

    def __init__(self, channels: tuple[int, ...], dim: int, sides: tuple[int, ...] = (3, 3, 6)):
        super().__init__()
        self.dim = dim
        self.cells = tuple(side**2 for side in sides)
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(side) for side in sides)
        self.embed = nn.ModuleList(nn.Sequential(nn.Linear(c, dim), nn.LayerNorm(dim)) for c in channels)

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Turn three maps `(b, c, h, w)` into tokens `(b, Σ side², dim)`, level by level, row by row."""
        pooled = [pool(x) for pool, x in zip(self.pools, pyramid, strict=True)]  # (b, c, side, side)
        cells = [rearrange(x, "b c h w -> b (h w) c") for x in pooled]
        return torch.cat([embed(x) for embed, x in zip(self.embed, cells, strict=True)], dim=1)
