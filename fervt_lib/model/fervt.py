"""FER-VT (Huang et al. 2021): grid-wise attention, fusion, pyramid, tokens, transformer."""

from typing import NamedTuple

from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from .backbone import CompactPyramid, Pyramid, ResNet34Pyramid
from .grid import Fusion, GridWiseAttention
from .tokens import LevelTokens, SpatialTokens
from .transformer import VisualTransformer

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Trace(NamedTuple):
    """Everything one forward pass computes on its way to the logits."""

    logits: Tensor
    """`(b, classes)`"""
    region_weights: Tensor
    """`(b, G, 3)`, Σ over G = 1: grid-wise attention, regions row by row."""
    fused: Tensor
    """`(b, 3, H, W)` in (0, 1): what the fusion hands to the backbone, before ImageNet normalisation."""
    pyramid: Pyramid
    """Three maps `(b, c, h, w)`."""
    attention: list[Tensor]
    """Per encoder layer `(b, heads, query, key)`, Σ over keys = 1; token 0 is the class token."""


class FERVT(nn.Module):
    """The whole model. Takes faces `(b, 3, H, W)`, float in [0, 1], not normalised.

    `model(x)` gives logits; `model.trace(x)` gives the same pass with every attention on the way.
    """

    def __init__(
        self,
        backbone: CompactPyramid | ResNet34Pyramid,
        tokens: LevelTokens | SpatialTokens,
        *,
        side: int,
        grid: int = 4,
        dim: int = 192,
        layers: int,
        heads: int,
        ffn: int,
        classes: int = 8,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.side = side  # height and width of the faces it is made for, in pixels
        self.grid_attention = GridWiseAttention(grid)
        self.fusion = Fusion()
        self.backbone = backbone
        self.tokens = tokens
        self.transformer = VisualTransformer(sum(tokens.cells), dim, layers, heads, ffn, classes, drop_path)

    def trace(self, x: Tensor) -> Trace:
        """Faces `(b, 3, H, W)` in [0, 1] to logits, attention and feature maps, all of one pass."""
        attended, region_weights = self.grid_attention(x)
        fused = self.fusion(x, attended)  # (b, 3, H, W) in (0, 1)
        pyramid = self.backbone(normalize(fused, IMAGENET_MEAN, IMAGENET_STD))
        logits, attention = self.transformer(self.tokens(pyramid))
        return Trace(logits, region_weights, fused, pyramid, attention)

    def forward(self, x: Tensor) -> Tensor:
        """Faces `(b, 3, H, W)` in [0, 1] to logits `(b, classes)`."""
        return self.trace(x).logits
