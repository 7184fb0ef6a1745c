"""FER-VT (Huang et al. 2021): grid-wise attention, fusion, pyramid, tokens and transformer, with its presets."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import ResNet34_Weights

from ..disk import FervtError
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
    """`(b, 3, H, W)` in (0, 1): the output of the fusion, before ImageNet normalization and the backbone."""
    pyramid: Pyramid
    """Three maps `(b, c, h, w)`."""
    attention: list[Tensor]
    """Per encoder layer `(b, heads, query, key)`, Σ over keys = 1; token 0 is the class token."""


class FERVT(nn.Module):
    """The whole model. Takes faces `(b, 3, H, W)`, float in [0, 1], not normalized.

    `model(x)` returns logits; `model.trace(x)` runs the same pass and also returns all attention along the way.
    """

    def __init__(
        self,
        backbone: CompactPyramid | ResNet34Pyramid,
        tokens: LevelTokens | SpatialTokens,
        *,
        side: int,
        grid: int = 4,
        layers: int,
        heads: int,
        ffn: int,
        classes: int = 8,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.side = side  # height and width of its input faces, in pixels
        self.grid_attention = GridWiseAttention(grid)
        self.fusion = Fusion()
        self.backbone = backbone
        for name, values in {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}.items():  # on the device, but not in the file
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.tokens = tokens
        self.transformer = VisualTransformer(sum(tokens.cells), tokens.dim, layers, heads, ffn, classes, drop_path)

    temperature = 1.0
    """Divides the logits, so that the model is right as often as its probabilities say; weights bring their own."""

    prior: tuple[float, ...] | None = None
    """How frequent each expression was in training; weights bring their own."""

    def trace(self, x: Tensor) -> Trace:
        """Turn faces `(b, 3, H, W)` in [0, 1] into logits, attention and feature maps, all from one pass."""
        region_weights, fused, pyramid = self._see(x)
        logits, attention = self.transformer(self.tokens(pyramid))
        return Trace(logits, region_weights, fused, pyramid, attention)

    def forward(self, x: Tensor) -> Tensor:
        """Turn faces `(b, 3, H, W)` in [0, 1] into logits `(b, classes)`, equal to those of `trace` up to rounding."""
        return self.transformer.logits(self.tokens(self._see(x)[-1]))

    def _see(self, x: Tensor) -> tuple[Tensor, Tensor, Pyramid]:
        """Turn faces into region weights, the fused image and the pyramid."""
        if x.shape[1:] != (3, self.side, self.side):
            raise FervtError(
                f"faces {tuple(x.shape)}: this model takes (b, 3, {self.side}, {self.side}), "
                f"as face_transforms({self.side}) makes them"
            )
        attended, region_weights = self.grid_attention(x)
        fused = self.fusion(x, attended)  # (b, 3, H, W) in (0, 1)
        return region_weights, fused, self.backbone((fused - self.mean) / self.std)


# --- presets ------------------------------------------------------------------------------------------------------


def paper(weights_backbone: ResNet34_Weights | str | None = None, classes: int = 8) -> FERVT:
    """224², 4×4 regions, ResNet-34, one token per level, dim 192, 12 layers, 8 heads, FFN 768 (paper, second-hand)."""
    backbone = ResNet34Pyramid(weights_backbone)
    tokens = LevelTokens(backbone.channels, 192)
    return FERVT(backbone, tokens, side=224, layers=12, heads=8, ffn=768, classes=classes, drop_path=0.1)


def compact(classes: int = 8) -> FERVT:
    """48², 4×4 regions, a small ResNet, 54 spatial tokens, dim 192, 3 layers, 6 heads, FFN 384: trains on a CPU."""
    backbone = CompactPyramid()
    tokens = SpatialTokens(backbone.channels, 192)
    return FERVT(backbone, tokens, side=48, layers=3, heads=6, ffn=384, classes=classes, drop_path=0.1)


def tiny(classes: int = 8) -> FERVT:
    """The compact preset at half its width (dim 128, 4 heads, FFN 256): small enough to train dozens of variants."""
    backbone = CompactPyramid(width=32)
    tokens = SpatialTokens(backbone.channels, 128)
    return FERVT(backbone, tokens, side=48, layers=3, heads=4, ffn=256, classes=classes, drop_path=0.1)


def wide(classes: int = 8) -> FERVT:
    """The compact preset with more of everything: a stem that keeps all pixels, width 72, dim 256, 8 heads, FFN 512."""
    backbone = CompactPyramid(width=72, stride=1)
    tokens = SpatialTokens(backbone.channels, 256)
    return FERVT(backbone, tokens, side=48, layers=3, heads=8, ffn=512, classes=classes, drop_path=0.2)


PRESETS = {"paper": paper, "compact": compact, "tiny": tiny, "wide": wide}
